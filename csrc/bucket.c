#include "bucket.h"

enum { MIN_SECTION = 512, MIN_RECORDS = 8 };
enum {
    LOOK_AHEAD = 8,     /* records, before their payload is copied */
    FIRST_LINES = 512,  /* bytes of it */
    WRITE_AHEAD = 1024, /* bytes, before they are written */
};

static int reserve(sp_section *section, size_t more) {
    if (more <= section->capacity - section->size) return 1;
    uint8_t *bytes = sp_grown(section->bytes, &section->capacity, section->size + more, 1, MIN_SECTION);
    if (!bytes) return 0;
    section->bytes = bytes;
    return 1;
}

static int reserve_record(sp_bucket *bucket) {
    if (bucket->record_count < bucket->record_capacity) return 1;
    sp_held_record *records =
        sp_grown(bucket->records, &bucket->record_capacity, bucket->record_count + 1, sizeof *records, MIN_RECORDS);
    if (!records) return 0;
    bucket->records = records;
    return 1;
}

static void append_field(sp_section *section, uint8_t tag, sp_slice content) {
    uint8_t *end = sp_field_write(section->bytes + section->size, tag, content);
    section->size = (size_t)(end - section->bytes);
}

static size_t message_size(const sp_bucket *bucket) {
    return bucket->partition_keys.size + bucket->explicit_hash_keys.size + bucket->records_size;
}

size_t sp_bucket_sealed_size(const sp_bucket *bucket) {
    return SP_MAGIC_SIZE + message_size(bucket) + SP_TRAILER_SIZE;
}

sp_added sp_bucket_add(sp_bucket *bucket, const sp_user_record *record, const sp_bucket_limits *limits) {
    sp_text_table *keys = &bucket->partition_key_table, *explicits = &bucket->explicit_hash_key_table;
    sp_slice partition_key = record->partition_key, data = record->data;
    int first = bucket->record_count == 0;
    if (bucket->record_count >= limits->max_records) return SP_FULL;
    if (!first) { /* tokens rise, so that they can be looked for */
        uint64_t token = record->token - bucket->first_token;
        if (token > UINT32_MAX || token < bucket->records[bucket->record_count - 1].token) return SP_FULL;
    }

    uint32_t key_index = sp_text_find(keys, &record->key_text, partition_key.data, bucket->partition_keys.bytes);
    int key_is_new = key_index == keys->count;
    size_t key_growth = key_is_new ? sp_field_size(partition_key.size) : 0;

    /* the table of explicit hash keys compares them as numbers: all of their 16 bytes, so it asks for no others */
    uint8_t digits[SP_HASH_KEY_MAX_DIGITS];
    sp_slice explicit_digits = {digits, 0};
    sp_text explicit_text = {0};
    uint32_t explicit_index = SP_NO_INDEX;
    if (record->has_explicit_hash_key) {
        explicit_text =
            sp_text_of((sp_slice){(const uint8_t *)&record->hash_key, sizeof record->hash_key}, limits->seed);
        explicit_index = sp_text_find(explicits, &explicit_text, NULL, NULL);
        if (explicit_index == explicits->count) explicit_digits.size = sp_hash_key_format(record->hash_key, digits);
    }
    int explicit_is_new = explicit_digits.size > 0;
    size_t explicit_growth = explicit_is_new ? sp_field_size(explicit_digits.size) : 0;

    size_t record_growth = sp_field_size(sp_record_content_size(data.size, key_index, explicit_index));
    if (!first) {
        size_t size = bucket->first_key_size + sp_bucket_sealed_size(bucket);
        size_t growth = key_growth + explicit_growth + record_growth;
        if (growth > limits->max_size || size > limits->max_size - growth) return SP_FULL;
    }

    if (!reserve_record(bucket)) return SP_NO_MEMORY;
    if (key_is_new && !(reserve(&bucket->partition_keys, key_growth) && sp_text_table_reserve(keys))) {
        return SP_NO_MEMORY;
    }
    if (explicit_is_new &&
        !(reserve(&bucket->explicit_hash_keys, explicit_growth) && sp_text_table_reserve(explicits))) {
        return SP_NO_MEMORY;
    }

    if (key_is_new) {
        append_field(&bucket->partition_keys, SP_TAG_PARTITION_KEY, partition_key);
        sp_text text = record->key_text;
        text.offset = bucket->partition_keys.size - partition_key.size;
        sp_text_append(keys, &text);
    }
    if (explicit_is_new) {
        append_field(&bucket->explicit_hash_keys, SP_TAG_EXPLICIT_HASH_KEY, explicit_digits);
        sp_text_append(explicits, &explicit_text);
    }
    if (first) bucket->first_token = record->token;
    bucket->records[bucket->record_count++] =
        (sp_held_record){data.data, record->owner,  (uint32_t)data.size,
                         key_index, explicit_index, (uint32_t)(record->token - bucket->first_token)};
    bucket->records_size += record_growth;
    if (first) {
        bucket->first_hash_key = record->hash_key;
        bucket->first_key_size = (uint32_t)partition_key.size;
        bucket->first_has_magic = sp_looks_aggregated(data);
    }
    return SP_ADDED;
}

sp_slice sp_bucket_first_key(const sp_bucket *bucket) {
    return (sp_slice){bucket->partition_keys.bytes + bucket->partition_key_table.texts->offset, bucket->first_key_size};
}

sp_slice sp_bucket_partition_key(const sp_bucket *bucket, size_t i) {
    const sp_text *text = &bucket->partition_key_table.texts[bucket->records[i].partition_key_index];
    return (sp_slice){bucket->partition_keys.bytes + text->offset, text->size};
}

int sp_bucket_explicit_hash_key(const sp_bucket *bucket, size_t i, sp_hash_key *hash_key) {
    uint32_t index = bucket->records[i].explicit_hash_key_index;
    if (index == SP_NO_INDEX) return 0;
    const sp_text *text = &bucket->explicit_hash_key_table.texts[index]; /* all of its 16 bytes */
    memcpy(&hash_key->high, &text->first, sizeof text->first);
    memcpy(&hash_key->low, &text->last, sizeof text->last);
    return 1;
}

int sp_bucket_is_aggregate(const sp_bucket *bucket) {
    return bucket->record_count > 1 || bucket->first_has_magic;
}

static uint8_t *write_section(uint8_t *out, const sp_section *section) {
    if (section->size) memcpy(out, section->bytes, section->size);
    return out + section->size;
}

/* Payloads lie all over the heap: their first lines are asked for some records before they are copied. */
static void look_ahead(const sp_bucket *bucket, size_t i) {
    if (i >= bucket->record_count) return;
    const sp_held_record *record = &bucket->records[i];
    size_t end = record->size < FIRST_LINES ? record->size : FIRST_LINES;
    for (size_t at = 0; at < end; at += 64) SP_PREFETCH(record->data + at);
}

sp_slice sp_bucket_seal(const sp_bucket *bucket, uint8_t *out) {
    memcpy(out, SP_MAGIC, SP_MAGIC_SIZE);
    uint8_t *end = write_section(out + SP_MAGIC_SIZE, &bucket->partition_keys);
    end = write_section(end, &bucket->explicit_hash_keys);
    for (size_t i = 0; i < bucket->record_count; i++) {
        const sp_held_record *record = &bucket->records[i];
        uint32_t key = record->partition_key_index, explicit_key = record->explicit_hash_key_index;
        look_ahead(bucket, i + LOOK_AHEAD);
        SP_PREFETCH_WRITE(end + WRITE_AHEAD);
        end = sp_record_write(end, sp_record_content_size(record->size, key, explicit_key),
                              (sp_slice){record->data, record->size}, key, explicit_key);
    }
    return (sp_slice){out + SP_MAGIC_SIZE, message_size(bucket)};
}

size_t sp_bucket_memory(const sp_bucket *bucket) {
    return bucket->partition_keys.capacity + bucket->explicit_hash_keys.capacity +
           bucket->record_capacity * sizeof *bucket->records + sp_text_table_memory(&bucket->partition_key_table) +
           sp_text_table_memory(&bucket->explicit_hash_key_table);
}

void sp_bucket_clear(sp_bucket *bucket) {
    sp_text_table_clear(&bucket->partition_key_table);
    sp_text_table_clear(&bucket->explicit_hash_key_table);
    bucket->partition_keys.size = bucket->explicit_hash_keys.size = 0;
    bucket->record_count = bucket->records_size = 0;
}

void sp_bucket_free(sp_bucket *bucket) {
    sp_text_table_free(&bucket->partition_key_table);
    sp_text_table_free(&bucket->explicit_hash_key_table);
    free(bucket->partition_keys.bytes);
    free(bucket->explicit_hash_keys.bytes);
    free(bucket->records);
    *bucket = sp_bucket_make(bucket->shard_index);
}
