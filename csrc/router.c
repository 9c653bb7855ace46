#include "router.h"

enum {
    MIN_STACK = 32,
    /* An emptied bucket that owns more bytes, and so many times what it held, was left large by other times: its tables
     * miss the caches. A new one is faster. */
    FITTING = 1 << 16,
    FITTING_TIMES = 64,
    LOOK_AHEAD = 8, /* records, before their turn */
};

static int reserve(sp_bucket_stack *stack, size_t more) {
    if (stack->count + more <= stack->capacity) return 1;
    sp_bucket *buckets =
        sp_grown(stack->buckets, &stack->capacity, stack->count + more, sizeof *stack->buckets, MIN_STACK);
    if (!buckets) return 0;
    stack->buckets = buckets;
    return 1;
}

int sp_router_init(sp_router *router, const sp_shard_table *shards, sp_md5_many_fn *md5, sp_bucket_limits limits) {
    router->shards = shards;
    router->md5 = md5;
    router->limits = limits;
    router->full = router->spare = (sp_bucket_stack){0};
    router->full_size = router->spare_memory = 0;
    router->places = NULL;
    router->place_count = router->place = router->places_passed = 0;
    router->place_shard = 0;
    router->stage.count = 0;
    router->buckets = malloc(shards->count * sizeof *router->buckets);
    if (!router->buckets) return 0;
    for (uint32_t i = 0; i < shards->count; i++) router->buckets[i] = sp_bucket_make(i);
    return 1;
}

int sp_router_place(sp_router *router, const sp_hash_key *places, size_t count) {
    size_t kept = router->place_count ? 1 : 0; /* where the last one went is filled up first */
    sp_hash_key *all = malloc((kept + count) * sizeof *all);
    if (!all) return 0;
    if (kept) all[0] = router->places[router->place];
    for (size_t i = 0; i < count; i++) all[kept + i] = places[i];
    free(router->places);
    router->places = all;
    router->place_count = kept + count;
    router->place = router->places_passed = 0;
    router->place_shard = sp_shard_table_find(router->shards, all[0]);
    return 1;
}

static sp_hash_key place(const sp_router *router) {
    return router->place_count ? router->places[router->place] : (sp_hash_key){0};
}

static void next_place(sp_router *router) {
    if (router->place + 1 < router->place_count) {
        router->place++;
    } else {
        router->place = 0;
    }
    router->places_passed++;
    router->place_shard = sp_shard_table_find(router->shards, place(router));
}

/* Queue up what a shard's bucket holds and leave one without memory. Room was reserved. */
static void detach(sp_router *router, sp_bucket *bucket) {
    router->full.buckets[router->full.count++] = *bucket;
    router->full_size += sp_bucket_sealed_size(bucket);
    *bucket = sp_bucket_make(bucket->shard_index);
    if (bucket->shard_index == router->place_shard) next_place(router);
}

/* Give an empty bucket the memory of a spare one: not before it is needed, so that idle shards keep none. */
static void furnish(sp_router *router, sp_bucket *bucket) {
    if (!router->spare.count || bucket->records) return;
    uint32_t shard = bucket->shard_index;
    *bucket = router->spare.buckets[--router->spare.count];
    bucket->shard_index = shard;
    router->spare_memory -= sp_bucket_memory(bucket);
}

int sp_router_detach(sp_router *router) {
    if (!reserve(&router->full, router->shards->count)) return 0;
    for (uint32_t i = 0; i < router->shards->count; i++) {
        if (router->buckets[i].record_count) detach(router, &router->buckets[i]);
    }
    return 1;
}

/* Add to the bucket, or to the empty one that takes its place. */
static sp_added add(sp_router *router, sp_bucket *bucket, const sp_user_record *record) {
    if (bucket->record_count == 0) furnish(router, bucket);
    sp_added added = sp_bucket_add(bucket, record, &router->limits);
    if (added != SP_FULL) return added;
    if (!reserve(&router->full, 1)) return SP_NO_MEMORY;
    detach(router, bucket);
    furnish(router, bucket);
    return sp_bucket_add(bucket, record, &router->limits);
}

/* The same with a keyless one: into the bucket of its place, or of the next one once that is full. */
static sp_added add_keyless(sp_router *router, sp_user_record *record) {
    sp_bucket *bucket = &router->buckets[router->place_shard];
    if (bucket->record_count == 0) furnish(router, bucket);
    record->hash_key = place(router);
    sp_added added = sp_bucket_add(bucket, record, &router->limits);
    if (added != SP_FULL) return added;
    if (!reserve(&router->full, 1)) return SP_NO_MEMORY;
    detach(router, bucket); /* which changes the place */
    record->hash_key = place(router);
    return add(router, &router->buckets[router->place_shard], record);
}

/* Find the hash keys and shards of what is on the stage. */
static void find(sp_router *router) {
    sp_stage *stage = &router->stage;
    for (uint32_t i = 0; i < stage->count; i++) {
        stage->keyless[i] = !stage->partition_keys[i].size;
        if (!stage->keyless[i]) continue;
        stage->partition_keys[i] = (sp_slice){(const uint8_t *)SP_KEYLESS, sizeof SP_KEYLESS - 1};
        stage->has_explicit_hash_key[i] = 1;
        stage->hash_keys[i] = place(router); /* as far as is known yet */
    }
    router->md5(stage->partition_keys, stage->count, stage->digests);
    for (uint32_t i = 0; i < stage->count; i++) {
        if (!stage->has_explicit_hash_key[i]) stage->hash_keys[i] = sp_hash_key_from_bytes(stage->digests + 16 * i);
        stage->shards[i] = sp_shard_table_find(router->shards, stage->hash_keys[i]);
        stage->key_texts[i] = sp_text_of(stage->partition_keys[i], router->limits.seed);
        sp_bucket_prefetch(&router->buckets[stage->shards[i]]);
    }
}

/* What adding a record a few turns later will read: the slot of its key, and where the record goes. */
static inline void look_ahead(const sp_router *router, uint32_t i) {
    const sp_stage *stage = &router->stage;
    if (i + LOOK_AHEAD >= stage->count) return;
    const sp_bucket *bucket = &router->buckets[stage->shards[i + LOOK_AHEAD]];
    sp_text_prefetch_slot(&bucket->partition_key_table, stage->key_texts[i + LOOK_AHEAD].hash);
    sp_bucket_prefetch_end(bucket);
}

uint32_t sp_router_route(sp_router *router) {
    sp_stage *stage = &router->stage;
    find(router);
    for (uint32_t i = 0; i < stage->count; i++) {
        look_ahead(router, i);
        sp_user_record record = {
            .partition_key = stage->partition_keys[i],
            .data = stage->datas[i],
            .key_text = stage->key_texts[i],
            .hash_key = stage->hash_keys[i],
            .has_explicit_hash_key = stage->has_explicit_hash_key[i],
            .owner = stage->owners[i],
            .token = stage->tokens[i],
        };
        sp_added added =
            stage->keyless[i] ? add_keyless(router, &record) : add(router, &router->buckets[stage->shards[i]], &record);
        if (added == SP_NO_MEMORY) return i;
    }
    return stage->count;
}

/* Show the stage user records of a bucket. */
static void unpack(sp_stage *stage, const sp_bucket *bucket, size_t from) {
    size_t left = bucket->record_count - from;
    stage->count = left < SP_STAGE_SIZE ? (uint32_t)left : SP_STAGE_SIZE;
    for (uint32_t i = 0; i < stage->count; i++) {
        const sp_held_record *record = &bucket->records[from + i];
        stage->partition_keys[i] = sp_bucket_partition_key(bucket, from + i);
        stage->datas[i] = (sp_slice){record->data, record->size};
        stage->owners[i] = record->owner;
        stage->tokens[i] = bucket->first_token + record->token;
        stage->has_explicit_hash_key[i] = (uint8_t)sp_bucket_explicit_hash_key(bucket, from + i, &stage->hash_keys[i]);
    }
}

int sp_router_reroute(sp_router *router, const sp_bucket *bucket, size_t *done) {
    while (*done < bucket->record_count) {
        unpack(&router->stage, bucket, *done);
        uint32_t routed = sp_router_route(router);
        *done += routed;
        if (routed < router->stage.count) return 0;
    }
    return 1;
}

int sp_router_lie_in(sp_router *router, const sp_bucket *bucket, sp_hash_key first, sp_hash_key last) {
    sp_stage *stage = &router->stage;
    for (size_t from = 0; from < bucket->record_count; from += stage->count) {
        unpack(stage, bucket, from);
        find(router);
        for (uint32_t i = 0; i < stage->count; i++) {
            if (sp_hash_key_less(stage->hash_keys[i], first) || sp_hash_key_less(last, stage->hash_keys[i])) return 0;
        }
    }
    return 1;
}

int sp_router_detach_one(sp_router *router, uint32_t shard) {
    if (!reserve(&router->full, 1)) return 0;
    if (router->buckets[shard].record_count) detach(router, &router->buckets[shard]);
    return 1;
}

void sp_seal_many(sp_md5_many_fn *md5, const sp_bucket *const *buckets, size_t count, uint8_t *const *outs) {
    sp_slice messages[SP_SEAL_BATCH];
    uint8_t digests[SP_SEAL_BATCH * SP_TRAILER_SIZE];
    size_t i = 0;
    while (i < count) {
        size_t n = 0;
        for (; i < count && n < SP_SEAL_BATCH; i++) {
            if (sp_bucket_is_aggregate(buckets[i])) messages[n++] = sp_bucket_seal(buckets[i], outs[i]);
        }
        md5(messages, n, digests);
        for (size_t j = 0; j < n; j++) { /* behind the message: the output is the caller's to write */
            memcpy((uint8_t *)(uintptr_t)messages[j].data + messages[j].size, digests + SP_TRAILER_SIZE * j,
                   SP_TRAILER_SIZE);
        }
    }
}

void sp_router_seal(const sp_router *router, size_t count, uint8_t *const *outs) {
    const sp_bucket *buckets[SP_SEAL_BATCH];
    for (size_t i = 0; i < count; i += SP_SEAL_BATCH) {
        size_t n = count - i < SP_SEAL_BATCH ? count - i : SP_SEAL_BATCH;
        for (size_t j = 0; j < n; j++) buckets[j] = &router->full.buckets[i + j];
        sp_seal_many(router->md5, buckets, n, outs + i);
    }
}

/* The first `count` full ones are gone. */
static void take_out(sp_router *router, size_t count) {
    router->full.count -= count;
    if (router->full.count == 0) return; /* there may be no array at all */
    memmove(router->full.buckets, router->full.buckets + count, router->full.count * sizeof *router->full.buckets);
}

void sp_router_forget(sp_router *router, size_t count) {
    for (size_t i = 0; i < count; i++) router->full_size -= sp_bucket_sealed_size(&router->full.buckets[i]);
    take_out(router, count);
}

void sp_router_recycle(sp_router *router, size_t count) {
    for (size_t i = 0; i < count; i++) {
        sp_bucket *bucket = &router->full.buckets[i];
        size_t memory = sp_bucket_memory(bucket), size = sp_bucket_sealed_size(bucket);
        router->full_size -= size;
        int is_fitting = memory <= FITTING || memory / FITTING_TIMES <= size;
        if (is_fitting && memory <= SP_SPARE_MEMORY - router->spare_memory && reserve(&router->spare, 1)) {
            sp_bucket_clear(bucket);
            router->spare.buckets[router->spare.count++] = *bucket;
            router->spare_memory += memory;
        } else {
            sp_bucket_free(bucket);
        }
    }
    take_out(router, count);
}

static void free_stack(sp_bucket_stack *stack) {
    for (size_t i = 0; i < stack->count; i++) sp_bucket_free(&stack->buckets[i]);
    free(stack->buckets);
    *stack = (sp_bucket_stack){0};
}

void sp_router_free(sp_router *router) {
    for (uint32_t i = 0; router->buckets && i < router->shards->count; i++) sp_bucket_free(&router->buckets[i]);
    free(router->buckets);
    free(router->places);
    router->buckets = NULL;
    router->places = NULL;
    free_stack(&router->full);
    free_stack(&router->spare);
}
