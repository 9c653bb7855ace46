#include "bucket.h"

#include <stdlib.h>

enum { MIN_SECTION = 512, MIN_ENTRIES = 8, MIN_RECORDS = 8 };
enum {
    LOOK_AHEAD = 8,     /* records, before their payload is copied */
    WRITE_AHEAD = 1024, /* bytes, before they are written */
};

typedef sp_table_entry entry;

/* --- sections --- */

static int reserve_bytes(sp_section *section, size_t more) {
    if (more <= section->capacity - section->size) return 1;
    size_t capacity = section->capacity ? section->capacity : MIN_SECTION;
    while (capacity - section->size < more) capacity *= 2;
    uint8_t *bytes = realloc(section->bytes, capacity);
    if (!bytes) return 0;
    section->bytes = bytes;
    section->capacity = capacity;
    return 1;
}

static void append_field(sp_section *section, uint8_t tag, sp_slice content) {
    uint8_t *end = sp_field_write(section->bytes + section->size, tag, content);
    section->size = (size_t)(end - section->bytes);
}

static int reserve_record(sp_bucket *bucket) {
    if (bucket->record_count < bucket->record_capacity) return 1;
    if (bucket->record_capacity > UINT32_MAX / 2) return 0;
    uint32_t capacity = bucket->record_capacity ? bucket->record_capacity * 2 : MIN_RECORDS;
    sp_held_record *records = realloc(bucket->records, capacity * sizeof *records);
    if (!records) return 0;
    bucket->records = records;
    bucket->record_capacity = capacity;
    return 1;
}

/* --- tables --- */

static void place(sp_table *table, uint32_t index) {
    uint32_t mask = table->capacity * SP_SLOTS_PER_ENTRY - 1;
    uint32_t slot = sp_table_slot(table, table->entries[index].hash);
    while (table->slots[slot]) slot = (slot + 1) & mask;
    table->slots[slot] = index + 1;
}

static int reserve_entry(sp_table *table) {
    if (table->count < table->capacity) return 1;
    uint32_t capacity = table->capacity ? table->capacity * 2 : MIN_ENTRIES;
    uint32_t *slots = calloc((size_t)capacity * SP_SLOTS_PER_ENTRY, sizeof *slots);
    entry *entries = realloc(table->entries, capacity * sizeof *entries);
    if (entries) table->entries = entries;
    if (!slots || !entries) {
        free(slots);
        return 0;
    }
    free(table->slots);
    table->slots = slots;
    table->capacity = capacity;
    for (uint32_t i = 0; i < table->count; i++) place(table, i);
    return 1;
}

static void append_entry(sp_table *table, entry new_entry) {
    table->entries[table->count] = new_entry;
    place(table, table->count++);
}

static inline entry entry_of_partition_key(sp_slice key, const uint8_t *digest) {
    entry wanted = {.size = (uint32_t)key.size, .hash = sp_partition_key_hash(digest)};
    if (key.size >= 8) {
        wanted.first = sp_load64(key.data);
        wanted.last = sp_load64(key.data + key.size - 8);
    } else {
        memcpy(&wanted.first, key.data, key.size);
    }
    return wanted;
}

/* Callers choose explicit hash keys, often by adding to a start: spread what differs over the low bits. */
static inline entry entry_of_explicit_hash_key(sp_hash_key key) {
    uint64_t hash = ((key.low ^ key.high) * 0x9e3779b97f4a7c15u) >> 32;
    return (entry){.first = key.high, .last = key.low, .hash = hash};
}

/* The index of the key in its table, which is the table's length when it is new. `key` and `section` tell partition
 * keys apart that are longer than what is compared. */
static inline uint32_t find_entry(const sp_table *table, entry wanted, const uint8_t *key, const uint8_t *section) {
    if (table->count == 0) return 0;
    uint32_t mask = table->capacity * SP_SLOTS_PER_ENTRY - 1;
    for (uint32_t slot = sp_table_slot(table, wanted.hash); table->slots[slot]; slot = (slot + 1) & mask) {
        uint32_t index = table->slots[slot] - 1;
        const entry *known = &table->entries[index];
        if (known->first == wanted.first && known->last == wanted.last && known->size == wanted.size &&
            (wanted.size <= 16 || memcmp(section + known->offset, key, wanted.size) == 0)) {
            return index;
        }
    }
    return table->count;
}

/* --- buckets --- */

static size_t sections_size(const sp_bucket *bucket) {
    return bucket->partition_keys.size + bucket->explicit_hash_keys.size + bucket->records_size;
}

void sp_bucket_note_now(sp_bucket *bucket, uint64_t time) {
    bucket->mark = (sp_bucket_mark){
        .time = time,
        .partition_keys = bucket->partition_keys.size,
        .explicit_hash_keys = bucket->explicit_hash_keys.size,
        .records_size = bucket->records_size,
        .partition_key_count = bucket->partition_key_table.count,
        .explicit_hash_key_count = bucket->explicit_hash_key_table.count,
        .record_count = bucket->record_count,
    };
}

/* Keep the table's first `count` entries. */
static void shorten_table(sp_table *table, uint32_t count) {
    if (count == table->count) return;
    memset(table->slots, 0, (size_t)table->capacity * SP_SLOTS_PER_ENTRY * sizeof *table->slots);
    table->count = count;
    for (uint32_t i = 0; i < count; i++) place(table, i);
}

void sp_bucket_undo(sp_bucket *bucket, uint64_t time) {
    if (bucket->mark.time != time) return;
    bucket->partition_keys.size = bucket->mark.partition_keys;
    bucket->explicit_hash_keys.size = bucket->mark.explicit_hash_keys;
    bucket->records_size = bucket->mark.records_size;
    bucket->record_count = bucket->mark.record_count;
    shorten_table(&bucket->partition_key_table, bucket->mark.partition_key_count);
    shorten_table(&bucket->explicit_hash_key_table, bucket->mark.explicit_hash_key_count);
}

int sp_bucket_add(sp_bucket *bucket, sp_slice partition_key, sp_slice data, void *owner, const uint8_t *digest,
                  const sp_hash_key *explicit_hash_key, sp_bucket_limits limits) {
    sp_table *keys = &bucket->partition_key_table, *explicits = &bucket->explicit_hash_key_table;
    int first = bucket->record_count == 0;
    if (bucket->record_count >= limits.max_records) return SP_FULL;

    entry key = entry_of_partition_key(partition_key, digest), explicit_key = {0};
    uint32_t key_index = find_entry(keys, key, partition_key.data, bucket->partition_keys.bytes);
    int key_is_new = key_index == keys->count;
    size_t key_growth = key_is_new ? sp_field_size(partition_key.size) : 0;

    uint8_t digits[SP_HASH_KEY_MAX_DIGITS];
    sp_slice explicit_text = {digits, 0};
    uint32_t explicit_index = SP_NO_INDEX;
    if (explicit_hash_key) {
        explicit_key = entry_of_explicit_hash_key(*explicit_hash_key);
        explicit_index = find_entry(explicits, explicit_key, digits, digits);
        if (explicit_index == explicits->count) explicit_text.size = sp_hash_key_format(*explicit_hash_key, digits);
    }
    int explicit_is_new = explicit_text.size > 0;
    size_t explicit_growth = explicit_is_new ? sp_field_size(explicit_text.size) : 0;

    size_t content_size = sp_record_content_size(data.size, key_index, explicit_index);
    size_t record_growth = sp_field_size(content_size);

    if (!first) {
        size_t size = bucket->first_key_size + sp_bucket_sealed_size(bucket);
        size_t growth = key_growth + explicit_growth + record_growth;
        if (growth > limits.max_size || size > limits.max_size - growth) return SP_FULL;
    }
    if (!reserve_record(bucket)) return SP_NO_MEMORY;
    if (key_is_new && !(reserve_bytes(&bucket->partition_keys, key_growth) && reserve_entry(keys))) return SP_NO_MEMORY;
    if (explicit_is_new && !(reserve_bytes(&bucket->explicit_hash_keys, explicit_growth) && reserve_entry(explicits))) {
        return SP_NO_MEMORY;
    }

    if (key_is_new) {
        append_field(&bucket->partition_keys, SP_TAG_PARTITION_KEY, partition_key);
        key.offset = (uint32_t)bucket->partition_keys.size - key.size;
        append_entry(keys, key);
    }
    if (explicit_is_new) {
        append_field(&bucket->explicit_hash_keys, SP_TAG_EXPLICIT_HASH_KEY, explicit_text);
        append_entry(explicits, explicit_key);
    }
    bucket->records[bucket->record_count++] =
        (sp_held_record){data.data, owner, (uint32_t)data.size, key_index, explicit_index};
    bucket->records_size += record_growth;
    if (first) {
        bucket->first_hash_key = explicit_hash_key ? *explicit_hash_key : sp_hash_key_from_bytes(digest);
        bucket->first_key_size = (uint32_t)partition_key.size;
    }
    return SP_ADDED;
}

sp_slice sp_bucket_first_key(const sp_bucket *bucket) {
    const entry *first = bucket->partition_key_table.entries;
    return (sp_slice){bucket->partition_keys.bytes + first->offset, first->size};
}

int sp_bucket_is_aggregate(const sp_bucket *bucket) {
    sp_slice first = {bucket->records->data, bucket->records->size};
    return bucket->record_count > 1 || sp_starts_with_magic(first);
}

size_t sp_bucket_sealed_size(const sp_bucket *bucket) {
    return SP_MAGIC_SIZE + sections_size(bucket) + SP_TRAILER_SIZE;
}

static uint8_t *write_section(uint8_t *out, const sp_section *section) {
    if (section->size) memcpy(out, section->bytes, section->size);
    return out + section->size;
}

/* Payloads lie all over the heap: their first lines are asked for some records before they are copied. */
static void look_ahead(const sp_bucket *bucket, uint32_t i) {
    if (i >= bucket->record_count) return;
    const sp_held_record *record = &bucket->records[i];
    size_t end = record->size < 512 ? record->size : 512;
    for (size_t at = 0; at < end; at += 64) __builtin_prefetch(record->data + at);
}

sp_slice sp_bucket_seal(const sp_bucket *bucket, uint8_t *out) {
    memcpy(out, SP_MAGIC, SP_MAGIC_SIZE);
    uint8_t *end = write_section(out + SP_MAGIC_SIZE, &bucket->partition_keys);
    end = write_section(end, &bucket->explicit_hash_keys);
    for (uint32_t i = 0; i < bucket->record_count; i++) {
        const sp_held_record *record = &bucket->records[i];
        uint32_t key = record->partition_key_index, explicit_key = record->explicit_hash_key_index;
        look_ahead(bucket, i + LOOK_AHEAD);
        __builtin_prefetch(end + WRITE_AHEAD, 1);
        end = sp_record_write(end, sp_record_content_size(record->size, key, explicit_key),
                              (sp_slice){record->data, record->size}, key, explicit_key);
    }
    return (sp_slice){out + SP_MAGIC_SIZE, sections_size(bucket)};
}

void sp_bucket_clear(sp_bucket *bucket) {
    shorten_table(&bucket->partition_key_table, 0);
    shorten_table(&bucket->explicit_hash_key_table, 0);
    bucket->partition_keys.size = bucket->explicit_hash_keys.size = bucket->records_size = 0;
    bucket->record_count = 0;
    bucket->mark.time = 0;
}

void sp_bucket_free(sp_bucket *bucket) {
    free(bucket->partition_keys.bytes);
    free(bucket->explicit_hash_keys.bytes);
    free(bucket->records);
    free(bucket->partition_key_table.entries);
    free(bucket->partition_key_table.slots);
    free(bucket->explicit_hash_key_table.entries);
    free(bucket->explicit_hash_key_table.slots);
    *bucket = sp_bucket_make(bucket->shard_index);
}
