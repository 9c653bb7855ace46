/* libFuzzer target: what csrc/router and csrc/bucket promise, whatever user records come in whatever order.
 *
 * The input is a program: a stream and limits, then user records, and when to route, to seal some or all, and which
 * allocation fails. Beside the router stands a model that knows the rules and nothing of how they are kept: it keeps
 * all user records, takes those of a shard in turn, and encodes them anew. Keys and payloads are allocations of exactly
 * their size that last no longer than the router was promised, so that ASan sees one byte too many and a stale pointer.
 */
#include "failing_malloc.h"
#include "router.h"
#include "whole_walk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MOST_SHARDS = 7, MOST_SIZE = 6000, LONGEST_KEY = 1024 };

typedef struct {
    uint8_t *key, *data;
    size_t key_size, data_size;
    sp_hash_key hash_key;
    int is_explicit;
    uint32_t shard;
} user_record;

typedef struct {
    sp_hash_key starts[MOST_SHARDS];
    sp_shard_table table;
    uint32_t *prefixes;
    sp_router *router;
    user_record *records; /* all that came, in order */
    size_t count, capacity;
    size_t routed;            /* how many are in buckets or were */
    size_t next[MOST_SHARDS]; /* where to look for the next one of a shard that comes out */
    size_t came_out;
} machine;

/* --- the program --- */

static unsigned take(sp_slice *program) {
    if (program->size == 0) return 0;
    program->size--;
    return *program->data++;
}

static uint8_t *bytes_of(size_t size, unsigned fill) {
    uint8_t *bytes = malloc(size + !size);
    DEMAND(bytes != NULL);
    memset(bytes, (int)fill, size + !size);
    return bytes;
}

/* Few different ones, so that they come again; of the long ones, many that differ in one byte far inside. */
static void take_key(user_record *record, sp_slice *program) {
    unsigned choice = take(program);
    if (choice < 208) {
        record->key_size = 1 + choice % 17;
        record->key = bytes_of(record->key_size, 'a' + choice % 13);
    } else {
        record->key_size = choice < 232 ? 17 + choice % 24 : LONGEST_KEY - choice % 24;
        record->key = bytes_of(record->key_size, 'k');
        unsigned where = take(program);
        size_t offset = where & 4 ? 0 : (where >> 3) % (record->key_size - 16); /* from either end of the middle */
        record->key[where & 1 ? 8 + offset : record->key_size - 9 - offset] = where & 2 ? 'x' : 'k';
    }
}

static void take_data(user_record *record, sp_slice *program) {
    unsigned choice = take(program), fill = take(program);
    record->data_size = choice < 128 ? choice : choice < 224 ? 480 + choice % 64 : choice * 11;
    record->data = bytes_of(record->data_size, fill);
    if (fill % 5 == 0 && record->data_size >= SP_MAGIC_SIZE) memcpy(record->data, SP_MAGIC, SP_MAGIC_SIZE);
    if (fill % 5 == 1 && record->data_size >= SP_MAGIC_SIZE) memcpy(record->data, SP_COMPRESSED_MAGIC, SP_MAGIC_SIZE);
}

/* The shard of the last start that is not above the hash key. */
static uint32_t shard_of(const machine *m, sp_hash_key hash_key) {
    uint32_t shard = 0;
    for (uint32_t i = 1; i < m->table.count; i++) {
        if (!sp_hash_key_less(hash_key, m->starts[i])) shard = i;
    }
    return shard;
}

static void put(machine *m, sp_slice *program) {
    if (m->count == m->capacity) {
        m->capacity = m->capacity ? 2 * m->capacity : 64;
        m->records = realloc(m->records, m->capacity * sizeof *m->records);
        DEMAND(m->records != NULL);
    }
    user_record *record = &m->records[m->count++];
    memset(record, 0, sizeof *record);
    take_key(record, program);
    take_data(record, program);
    unsigned choice = take(program);
    if (choice % 2) {
        uint64_t half = choice < 128 ? (uint64_t)choice << 56 : choice * 0x0101010101010101u;
        record->hash_key = (sp_hash_key){half, choice % 4 == 1 ? half : choice};
        record->is_explicit = 1;
    } else {
        uint8_t digest[16];
        sp_md5_many_portable(&(sp_slice){record->key, record->key_size}, 1, digest);
        record->hash_key = sp_hash_key_from_bytes(digest);
    }
    record->shard = shard_of(m, record->hash_key);
}

/* --- the model: bytes of an aggregated record --- */

static size_t write_varint(uint8_t *out, size_t value) {
    size_t n = 0;
    for (; value >= 0x80; value >>= 7) out[n++] = (uint8_t)(value | 0x80);
    out[n++] = (uint8_t)value;
    return n;
}

static size_t write_bytes(uint8_t *out, uint8_t tag, const uint8_t *bytes, size_t size) {
    out[0] = tag;
    size_t n = 1 + write_varint(out + 1, size);
    memcpy(out + n, bytes, size);
    return n + size;
}

static size_t write_number(uint8_t *out, uint8_t tag, size_t value) {
    out[0] = tag;
    return 1 + write_varint(out + 1, value);
}

static int same_key(const user_record *a, const user_record *b) {
    return a->key_size == b->key_size && memcmp(a->key, b->key, a->key_size) == 0;
}

static int same_hash_key(const user_record *a, const user_record *b) {
    return a->is_explicit && b->is_explicit && a->hash_key.high == b->hash_key.high &&
           a->hash_key.low == b->hash_key.low;
}

/* The place of each in a table of those that differ, in the order they came; a place of their own for none. */
static void find_places(user_record *const *members, size_t count, size_t *places,
                        int (*same)(const user_record *, const user_record *)) {
    size_t next = 0;
    for (size_t i = 0; i < count; i++) {
        size_t j = 0;
        while (j < i && !same(members[j], members[i])) j++;
        places[i] = j < i ? places[j] : same(members[i], members[i]) ? next++ : SIZE_MAX;
    }
}

/* The digits of a hash key, by long division. */
static size_t write_digits(uint8_t *out, sp_hash_key key) {
    uint8_t digits[40];
    size_t n = 0;
    unsigned __int128 value = (unsigned __int128)key.high << 64 | key.low;
    do digits[n++] = (uint8_t)('0' + (unsigned)(value % 10));
    while ((value /= 10) != 0);
    for (size_t i = 0; i < n; i++) out[i] = digits[n - 1 - i];
    return n;
}

/* The aggregated record of these, in memory of the caller's to free. */
static uint8_t *encode(user_record *const *members, size_t count, size_t *size) {
    size_t room = 64;
    for (size_t i = 0; i < count; i++) room += members[i]->key_size + members[i]->data_size + 100;
    uint8_t *out = malloc(room), *record = malloc(room), digits[40];
    DEMAND(out != NULL && record != NULL);
    size_t *keys = exactly(count, sizeof *keys), *hash_keys = exactly(count, sizeof *hash_keys), n = 4, next = 0;
    find_places(members, count, keys, same_key);
    find_places(members, count, hash_keys, same_hash_key);
    memcpy(out, "\xf3\x89\x9a\xc2", 4);
    for (size_t i = 0; i < count; i++) {
        if (keys[i] != next) continue;
        next++;
        n += write_bytes(out + n, 0x0a, members[i]->key, members[i]->key_size);
    }
    next = 0;
    for (size_t i = 0; i < count; i++) {
        if (hash_keys[i] != next) continue;
        next++;
        n += write_bytes(out + n, 0x12, digits, write_digits(digits, members[i]->hash_key));
    }
    for (size_t i = 0; i < count; i++) {
        size_t at = write_number(record, 0x08, keys[i]);
        if (members[i]->is_explicit) at += write_number(record + at, 0x10, hash_keys[i]);
        at += write_bytes(record + at, 0x1a, members[i]->data, members[i]->data_size);
        n += write_bytes(out + n, 0x1a, record, at);
    }
    free(keys);
    free(hash_keys);
    sp_md5_many_portable(&(sp_slice){out + 4, n - 4}, 1, out + n);
    DEMAND(n + 16 <= room);
    free(record);
    *size = n + 16;
    return out;
}

/* --- against the router --- */

static int equal(sp_slice found, const uint8_t *bytes, size_t size) {
    return found.size == size && (size == 0 || memcmp(found.data, bytes, size) == 0);
}

/* A full bucket and what was written of it. Not `flushed`: the next record of its shard did not fit. */
static void check_bucket(machine *m, const sp_bucket *bucket, const uint8_t *out, int flushed) {
    size_t count = bucket->record_count, size, i = m->next[bucket->shard_index];
    const sp_bucket_limits *limits = &m->router->limits;
    user_record **members = exactly(count + 1, sizeof *members);
    DEMAND(count >= 1 && count <= limits->max_records);
    for (size_t found = 0; found < count + !flushed; i++) {
        DEMAND(i < m->routed + !flushed && i < m->count);
        if (m->records[i].shard != bucket->shard_index) continue;
        members[found++] = &m->records[i];
        if (found == count) m->next[bucket->shard_index] = i + 1;
    }
    const user_record *first = members[0];
    DEMAND(equal(sp_bucket_first_key(bucket), first->key, first->key_size));
    DEMAND(equal((sp_slice){bucket->records->data, bucket->records->size}, first->data, first->data_size));
    DEMAND(sp_hash_key_equal(bucket->first_hash_key, first->hash_key));
    int has_magic = first->data_size >= 4 &&
                    (memcmp(first->data, "\xf3\x89\x9a\xc2", 4) == 0 || memcmp(first->data, "\xf5SPZ", 4) == 0);
    DEMAND(sp_bucket_is_aggregate(bucket) == (count > 1 || has_magic));
    for (size_t j = 0; j < count; j++) {
        DEMAND(bucket->first_token + bucket->records[j].token == (size_t)(members[j] - m->records));
    }
    uint8_t *expected = encode(members, count, &size);
    DEMAND(sp_bucket_sealed_size(bucket) == size);
    DEMAND(count == 1 || size + first->key_size <= limits->max_size);
    if (out) DEMAND(memcmp(out, expected, size) == 0);
    free(expected);
    if (count == 1) DEMAND(sp_bucket_has_explicit_hash_key(bucket) == first->is_explicit);
    if (!flushed && count < limits->max_records) {
        free(encode(members, count + 1, &size));
        DEMAND(size + first->key_size > limits->max_size);
    }
    m->came_out += count;
    free(members);
}

static void check_router(const machine *m) {
    const sp_router *router = m->router;
    size_t full = 0, spare = 0;
    for (size_t i = 0; i < router->full.count; i++) full += sp_bucket_sealed_size(&router->full.buckets[i]);
    for (size_t i = 0; i < router->spare.count; i++) {
        const sp_bucket *bucket = &router->spare.buckets[i];
        const sp_text_table *table = &bucket->partition_key_table;
        DEMAND(bucket->record_count == 0 && bucket->records_size == 0);
        DEMAND(table->count == 0 && bucket->explicit_hash_key_table.count == 0);
        for (size_t j = 0; table->slots && j < sp_text_slots(table->capacity); j++) DEMAND(table->slots[j] == 0);
        spare += sp_bucket_memory(bucket);
    }
    DEMAND(router->full_size == full && router->spare_memory == spare && spare <= SP_SPARE_MEMORY);
    for (uint32_t i = 0; i < m->table.count; i++) {
        DEMAND(router->buckets[i].shard_index == i);
        DEMAND(router->buckets[i].record_count || sp_failures() || sp_bucket_memory(&router->buckets[i]) == 0);
    }
}

/* Fill the stage and route it, once. */
static void route_some(machine *m) {
    sp_stage *stage = &m->router->stage;
    size_t n = m->count - m->routed, failures = sp_failures();
    if (n > SP_STAGE_SIZE) n = SP_STAGE_SIZE;
    memset(stage, UNTOUCHED, sizeof *stage);
    stage->count = (uint32_t)n;
    for (size_t i = 0; i < n; i++) {
        const user_record *record = &m->records[m->routed + i];
        uint8_t *key = exactly(record->key_size, 1), *payload = exactly(record->data_size + !record->data_size, 1);
        memcpy(key, record->key, record->key_size);
        memcpy(payload, record->data, record->data_size);
        stage->partition_keys[i] = (sp_slice){key, record->key_size};
        stage->datas[i] = (sp_slice){record->data_size ? payload : NULL, record->data_size};
        stage->owners[i] = payload;
        stage->tokens[i] = m->routed + i;
        stage->has_explicit_hash_key[i] = (uint8_t)record->is_explicit;
        if (record->is_explicit) stage->hash_keys[i] = record->hash_key;
    }
    sp_watch();
    uint32_t routed = sp_router_route(m->router);
    sp_unwatch();
    DEMAND(routed == n || (routed < n && sp_failures() > failures));
    for (size_t i = 0; i < n; i++) {
        DEMAND(stage->shards[i] == m->records[m->routed + i].shard);
        free((void *)(uintptr_t)stage->partition_keys[i].data);
        if (i >= routed) free(stage->owners[i]); /* it comes again; the others are a bucket's now */
    }
    m->routed += routed;
}

static void route(machine *m) {
    while (m->routed < m->count) route_some(m);
}

/* Seal the first full buckets, look at them, and empty them. From `flushed` on they had room. */
static void seal(machine *m, size_t count, size_t flushed) {
    sp_router *router = m->router;
    uint8_t **outs = exactly(count, sizeof *outs);
    for (size_t i = 0; i < count; i++) {
        const sp_bucket *bucket = &router->full.buckets[i];
        outs[i] = sp_bucket_is_aggregate(bucket) ? exactly(sp_bucket_sealed_size(bucket), 1) : NULL;
    }
    sp_watch();
    sp_router_seal(router, count, outs);
    sp_unwatch();
    for (size_t i = 0; i < count; i++) {
        const sp_bucket *bucket = &router->full.buckets[i];
        check_bucket(m, bucket, outs[i], i >= flushed);
        free(outs[i]);
        for (size_t j = 0; j < bucket->record_count; j++) free(bucket->records[j].owner);
    }
    free(outs);
    size_t left = router->full.count - count;
    sp_watch();
    sp_router_recycle(router, count);
    sp_unwatch();
    DEMAND(router->full.count == left);
}

static void flush(machine *m, unsigned step) {
    sp_router *router = m->router;
    route(m);
    size_t full = router->full.count, failures;
    int done;
    do {
        failures = sp_failures();
        sp_watch();
        done = sp_router_detach(router);
        sp_unwatch();
        DEMAND(done || (sp_failures() > failures && router->full.count == full));
    } while (!done);
    while (router->full.count) {
        size_t count = router->full.count < step ? router->full.count : step;
        seal(m, count, full);
        full -= full < count ? full : count;
    }
    DEMAND(m->came_out == m->count);
}

static void begin(machine *m, sp_slice *program) {
    static const uint32_t most_records[] = {1, 2, 3, 100, UINT32_MAX};
    uint32_t count = 1 + take(program) % MOST_SHARDS;
    unsigned narrow = take(program) % 64;
    memset(m, 0, sizeof *m);
    for (uint32_t i = 1; i < count; i++) m->starts[i].high = (UINT64_MAX / count * i) >> narrow;
    for (uint32_t i = 1; i < count; i++) m->starts[i].low = i; /* ascending, however narrow */
    m->prefixes = exactly(sp_shard_table_prefix_count(count), sizeof *m->prefixes);
    m->table = sp_shard_table_make(m->starts, count, m->prefixes);
    sp_bucket_limits limits = {.max_size = 1 + (take(program) << 8 | take(program)) % MOST_SIZE};
    limits.max_records = most_records[take(program) % 5];
    unsigned seed = take(program);
    if (seed % 4 == 0) seed = 0; /* under which most texts have one hash: they are told apart by their bytes alone */
    limits.seed = (sp_seed){seed * 0x9e3779b97f4a7c15u, seed * 0xd1b54a32d192ed03u};
    m->router = exactly(1, sizeof *m->router);
    size_t failures = sp_failures();
    sp_watch();
    while (!sp_router_init(m->router, &m->table, sp_md5_many_portable, limits)) DEMAND(sp_failures() > failures++);
    sp_unwatch();
}

static void end(machine *m) {
    flush(m, UINT32_MAX);
    sp_fail_at(0);
    sp_router_free(m->router);
    DEMAND(sp_live_blocks() == 0);
    for (size_t i = 0; i < m->count; i++) {
        free(m->records[i].key);
        free(m->records[i].data);
    }
    free(m->records);
    free(m->router);
    free(m->prefixes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    sp_slice program = {data, size};
    machine m;
    begin(&m, &program);
    while (program.size) {
        unsigned step = take(&program);
        if (step < 200) {
            put(&m, &program);
        } else if (step < 220) {
            route(&m);
        } else if (step < 234) {
            size_t count = m.router->full.count, some = take(&program);
            seal(&m, count < some ? count : some, SIZE_MAX);
        } else if (step < 246) {
            flush(&m, 1 + take(&program));
        } else {
            sp_fail_at(1 + take(&program));
        }
        check_router(&m);
    }
    end(&m);
    return 0;
}
