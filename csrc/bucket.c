#include "bucket.h"

#include <stdlib.h>
#include <string.h>

enum { MIN_RECORDS = 16, MIN_KEYS = 8 };

/* Make room for one more entry in `array`; its size in elements is the caller's to note. */
static int grow(void *array_of_pointers, size_t element_size, uint32_t capacity) {
    void *array;
    memcpy(&array, array_of_pointers, sizeof array);
    array = realloc(array, element_size * capacity);
    if (!array) return 0;
    memcpy(array_of_pointers, &array, sizeof array);
    return 1;
}

static void place(sp_key_index *index, uint32_t entry) {
    uint32_t mask = index->slot_count - 1;
    uint32_t slot = (uint32_t)index->hashes[entry] & mask;
    while (index->slots[slot]) slot = (slot + 1) & mask;
    index->slots[slot] = entry + 1;
}

/* Grow hashes and slots to hold `capacity` entries, at most half full. */
static int grow_index(sp_key_index *index, uint32_t capacity) {
    if (!grow(&index->hashes, sizeof *index->hashes, capacity)) return 0;
    uint32_t *slots = calloc((size_t)capacity * 2, sizeof *slots);
    if (!slots) return 0;
    free(index->slots);
    index->slots = slots;
    index->slot_count = capacity * 2;
    index->capacity = capacity;
    for (uint32_t entry = 0; entry < index->count; entry++) place(index, entry);
    return 1;
}

static void append_to_index(sp_key_index *index, uint64_t hash) {
    index->hashes[index->count] = hash;
    place(index, index->count++);
}

static int reserve_partition_key(sp_bucket *bucket) {
    sp_key_index *index = &bucket->partition_key_index;
    if (index->count < index->capacity) return 1;
    uint32_t capacity = index->capacity ? index->capacity * 2 : MIN_KEYS;
    return grow(&bucket->partition_keys, sizeof *bucket->partition_keys, capacity) &&
           grow(&bucket->partition_key_owners, sizeof *bucket->partition_key_owners, capacity) &&
           grow_index(index, capacity);
}

static int reserve_explicit_hash_key(sp_bucket *bucket) {
    sp_key_index *index = &bucket->explicit_hash_key_index;
    if (index->count < index->capacity) return 1;
    uint32_t capacity = index->capacity ? index->capacity * 2 : MIN_KEYS;
    return grow(&bucket->explicit_hash_keys, sizeof *bucket->explicit_hash_keys, capacity) &&
           grow_index(index, capacity);
}

static int reserve_record(sp_bucket *bucket) {
    if (bucket->record_count < bucket->record_capacity) return 1;
    uint32_t capacity = bucket->record_capacity ? bucket->record_capacity * 2 : MIN_RECORDS;
    if (!grow(&bucket->records, sizeof *bucket->records, capacity) ||
        !grow(&bucket->data_owners, sizeof *bucket->data_owners, capacity)) {
        return 0;
    }
    bucket->record_capacity = capacity;
    return 1;
}

/* The table index of the key, which is the table's length when the key is new. */
static uint32_t find_partition_key(const sp_bucket *bucket, uint64_t hash, sp_slice key) {
    const sp_key_index *index = &bucket->partition_key_index;
    if (index->count == 0) return 0;
    uint32_t mask = index->slot_count - 1, slot = (uint32_t)hash & mask;
    for (; index->slots[slot]; slot = (slot + 1) & mask) {
        uint32_t entry = index->slots[slot] - 1;
        if (index->hashes[entry] != hash) continue;
        sp_slice known = bucket->partition_keys[entry];
        if (known.size == key.size && (known.data == key.data || memcmp(known.data, key.data, key.size) == 0)) {
            return entry;
        }
    }
    return index->count;
}

static uint32_t find_explicit_hash_key(const sp_bucket *bucket, uint64_t hash, sp_hash_key key) {
    const sp_key_index *index = &bucket->explicit_hash_key_index;
    if (index->count == 0) return 0;
    uint32_t mask = index->slot_count - 1, slot = (uint32_t)hash & mask;
    for (; index->slots[slot]; slot = (slot + 1) & mask) {
        uint32_t entry = index->slots[slot] - 1;
        if (sp_hash_key_equal(bucket->explicit_hash_keys[entry].value, key)) return entry;
    }
    return index->count;
}

/* Callers choose explicit hash keys, often by adding to a start: spread all 128 bits. */
static uint64_t mix(sp_hash_key key) {
    uint64_t h = (key.high ^ 0x9e3779b97f4a7c15u) * 0xbf58476d1ce4e5b9u ^ key.low;
    h = (h ^ h >> 32) * 0x94d049bb133111ebu;
    return h ^ h >> 29;
}

int sp_bucket_add(sp_bucket *bucket, const sp_staged_record *record, const uint8_t *digest,
                  sp_hash_key explicit_hash_key, size_t max_size, uint32_t max_records) {
    int first = bucket->record_count == 0;
    if (bucket->record_count >= max_records) return SP_FULL;

    sp_slice key = {record->partition_key, record->partition_key_size};
    uint64_t key_hash = sp_load_be64(digest + 8); /* the high half is nearly the same all over a shard */
    uint32_t key_index = find_partition_key(bucket, key_hash, key);
    int key_is_new = key_index == bucket->partition_key_index.count;
    size_t growth = key_is_new ? sp_field_size(key.size) : 0;

    sp_explicit_hash_key explicit_key = {.value = explicit_hash_key};
    uint64_t explicit_hash = 0;
    uint32_t explicit_index = SP_NO_INDEX;
    int explicit_is_new = 0;
    if (record->has_explicit_hash_key) {
        explicit_hash = mix(explicit_hash_key);
        explicit_index = find_explicit_hash_key(bucket, explicit_hash, explicit_hash_key);
        explicit_is_new = explicit_index == bucket->explicit_hash_key_index.count;
        if (explicit_is_new) {
            explicit_key.text_size = (uint8_t)sp_hash_key_format(explicit_hash_key, explicit_key.text);
            growth += sp_field_size(explicit_key.text_size);
        }
    }
    growth += sp_field_size(sp_record_content_size(record->data_size, key_index, explicit_index));

    size_t size = first ? SP_MAGIC_SIZE + SP_TRAILER_SIZE + key.size : bucket->size;
    if (!first && (growth > max_size || size > max_size - growth)) return SP_FULL;

    if ((key_is_new && !reserve_partition_key(bucket)) || (explicit_is_new && !reserve_explicit_hash_key(bucket)) ||
        !reserve_record(bucket)) {
        return SP_NO_MEMORY;
    }
    if (first) {
        bucket->first_hash_key = record->has_explicit_hash_key ? explicit_hash_key : sp_hash_key_from_bytes(digest);
    }
    if (key_is_new) {
        bucket->partition_keys[key_index] = key;
        bucket->partition_key_owners[key_index] = record->partition_key_owner;
        append_to_index(&bucket->partition_key_index, key_hash);
    }
    if (explicit_is_new) {
        bucket->explicit_hash_keys[explicit_index] = explicit_key;
        append_to_index(&bucket->explicit_hash_key_index, explicit_hash);
    }
    bucket->records[bucket->record_count] =
        (sp_user_record){record->data, record->data_size, key_index, explicit_index};
    bucket->data_owners[bucket->record_count++] = record->data_owner;
    bucket->size = size + growth;
    return key_is_new ? SP_ADDED_WITH_KEY : SP_ADDED;
}

int sp_bucket_is_aggregate(const sp_bucket *bucket) {
    const sp_user_record *first = bucket->records;
    return bucket->record_count > 1 ||
           (first->data_size >= SP_MAGIC_SIZE && memcmp(first->data, SP_MAGIC, SP_MAGIC_SIZE) == 0);
}

sp_aggregate sp_bucket_aggregate(const sp_bucket *bucket) {
    return (sp_aggregate){bucket->partition_keys,
                          bucket->partition_key_index.count,
                          bucket->explicit_hash_keys,
                          bucket->explicit_hash_key_index.count,
                          bucket->records,
                          bucket->record_count};
}

size_t sp_bucket_data_size(const sp_bucket *bucket) {
    return bucket->size - bucket->partition_keys[0].size;
}

static void clear_index(sp_key_index *index) {
    if (index->count) memset(index->slots, 0, index->slot_count * sizeof *index->slots);
    index->count = 0;
}

void sp_bucket_clear(sp_bucket *bucket) {
    clear_index(&bucket->partition_key_index);
    clear_index(&bucket->explicit_hash_key_index);
    bucket->record_count = 0;
    bucket->size = 0;
}

static void free_index(sp_key_index *index) {
    free(index->hashes);
    free(index->slots);
}

void sp_bucket_free(sp_bucket *bucket) {
    free_index(&bucket->partition_key_index);
    free_index(&bucket->explicit_hash_key_index);
    free(bucket->partition_keys);
    free(bucket->partition_key_owners);
    free(bucket->explicit_hash_keys);
    free(bucket->records);
    free(bucket->data_owners);
    *bucket = (sp_bucket){0};
}
