#include "bucket.h"

enum { MIN_SECTION = 512, MIN_PAYLOADS = 8 };
enum {
    WRITE_AHEAD = 512,  /* bytes, before they are written */
    MAX_HEAD = 24,      /* bytes of a record before its payload: four tags, two indices, two lengths */
    LOOK_AHEAD = 4,     /* payloads, before they are copied */
    FIRST_LINES = 1024, /* bytes of them */
};

static int reserve(sp_section *section, size_t more) {
    if (more <= section->capacity - section->size) return 1;
    uint8_t *bytes = sp_grown(section->bytes, &section->capacity, section->size + more, 1, MIN_SECTION);
    if (!bytes) return 0;
    section->bytes = bytes;
    return 1;
}

static int reserve_payload(sp_bucket *bucket) {
    if (bucket->payload_count < bucket->payload_capacity) return 1;
    sp_payload *payloads = sp_grown(bucket->payloads, &bucket->payload_capacity, bucket->payload_count + 1,
                                    sizeof *payloads, MIN_PAYLOADS);
    if (!payloads) return 0;
    bucket->payloads = payloads;
    return 1;
}

static void append_field(sp_section *section, uint8_t tag, sp_slice content) {
    uint8_t *end = sp_field_write(section->bytes + section->size, tag, content);
    section->size = (size_t)(end - section->bytes);
}

static size_t message_size(const sp_bucket *bucket) {
    return bucket->partition_keys.size + bucket->explicit_hash_keys.size + bucket->records.size + bucket->payloads_size;
}

size_t sp_bucket_sealed_size(const sp_bucket *bucket) {
    return SP_MAGIC_SIZE + message_size(bucket) + SP_TRAILER_SIZE;
}

sp_added sp_bucket_add(sp_bucket *bucket, const sp_user_record *record, const sp_bucket_limits *limits) {
    sp_text_table *keys = &bucket->partition_key_table, *explicits = &bucket->explicit_hash_key_table;
    sp_slice partition_key = record->partition_key, data = record->data;
    int first = bucket->record_count == 0, is_held = data.size > SP_COPIED_PAYLOAD;
    if (bucket->record_count >= limits->max_records) return SP_FULL;

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

    size_t content_size = sp_record_content_size(data.size, key_index, explicit_index);
    if (!first) {
        size_t size = bucket->first_key_size + sp_bucket_sealed_size(bucket);
        size_t growth = key_growth + explicit_growth + sp_field_size(content_size);
        if (growth > limits->max_size || size > limits->max_size - growth) return SP_FULL;
    }

    if (is_held && !reserve_payload(bucket)) return SP_NO_MEMORY;
    if (!reserve(&bucket->records, MAX_HEAD + (is_held ? 0 : data.size))) return SP_NO_MEMORY;
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
    for (size_t at = WRITE_AHEAD; at < WRITE_AHEAD + 128; at += 64) {
        __builtin_prefetch(bucket->records.bytes + bucket->records.size + at, 1);
    }
    uint8_t *end = sp_record_head_write(bucket->records.bytes + bucket->records.size, content_size, data.size,
                                        key_index, explicit_index);
    if (is_held) {
        bucket->payloads[bucket->payload_count++] =
            (sp_payload){data, (size_t)(end - bucket->records.bytes), record->owner};
        bucket->payloads_size += data.size;
    } else if (data.size) {
        memcpy(end, data.data, data.size);
        end += data.size;
    }
    bucket->records.size = (size_t)(end - bucket->records.bytes);
    bucket->record_count++;
    if (first) {
        bucket->first_hash_key = record->hash_key;
        bucket->first_key_size = (uint32_t)partition_key.size;
        bucket->first_data_size = (uint32_t)data.size;
    }
    return is_held ? SP_HELD : SP_COPIED;
}

sp_slice sp_bucket_first_key(const sp_bucket *bucket) {
    return (sp_slice){bucket->partition_keys.bytes + bucket->partition_key_table.texts->offset, bucket->first_key_size};
}

sp_slice sp_bucket_first_data(const sp_bucket *bucket) {
    if (bucket->first_data_size > SP_COPIED_PAYLOAD) return bucket->payloads->data;
    sp_slice content = {0};
    sp_cursor in = {bucket->records.bytes + 1, bucket->records.bytes + bucket->records.size};
    sp_read_bytes(&in, &content); /* its data is what the first record ends with */
    return (sp_slice){content.data + content.size - bucket->first_data_size, bucket->first_data_size};
}

int sp_bucket_is_aggregate(const sp_bucket *bucket) {
    return bucket->record_count > 1 || sp_starts_with_magic(sp_bucket_first_data(bucket));
}

static uint8_t *write_bytes(uint8_t *out, const uint8_t *bytes, size_t size) {
    if (size) memcpy(out, bytes, size);
    return out + size;
}

/* Payloads lie all over the heap: their first lines are asked for some payloads before they are copied. */
static void look_ahead(const sp_bucket *bucket, size_t i) {
    if (i >= bucket->payload_count) return;
    sp_slice data = bucket->payloads[i].data;
    size_t end = data.size < FIRST_LINES ? data.size : FIRST_LINES;
    for (size_t at = 0; at < end; at += 64) __builtin_prefetch(data.data + at);
}

sp_slice sp_bucket_seal(const sp_bucket *bucket, uint8_t *out) {
    memcpy(out, SP_MAGIC, SP_MAGIC_SIZE);
    uint8_t *end = write_bytes(out + SP_MAGIC_SIZE, bucket->partition_keys.bytes, bucket->partition_keys.size);
    end = write_bytes(end, bucket->explicit_hash_keys.bytes, bucket->explicit_hash_keys.size);
    size_t from = 0;
    for (size_t i = 0; i < bucket->payload_count; i++) {
        const sp_payload *payload = &bucket->payloads[i];
        look_ahead(bucket, i + LOOK_AHEAD);
        end = write_bytes(end, bucket->records.bytes + from, payload->at - from);
        end = write_bytes(end, payload->data.data, payload->data.size);
        from = payload->at;
    }
    write_bytes(end, bucket->records.bytes + from, bucket->records.size - from);
    return (sp_slice){out + SP_MAGIC_SIZE, message_size(bucket)};
}

size_t sp_bucket_memory(const sp_bucket *bucket) {
    return bucket->partition_keys.capacity + bucket->explicit_hash_keys.capacity + bucket->records.capacity +
           bucket->payload_capacity * sizeof *bucket->payloads + sp_text_table_memory(&bucket->partition_key_table) +
           sp_text_table_memory(&bucket->explicit_hash_key_table);
}

void sp_bucket_clear(sp_bucket *bucket) {
    sp_text_table_clear(&bucket->partition_key_table);
    sp_text_table_clear(&bucket->explicit_hash_key_table);
    bucket->partition_keys.size = bucket->explicit_hash_keys.size = bucket->records.size = 0;
    bucket->payload_count = bucket->payloads_size = 0;
    bucket->record_count = 0;
}

void sp_bucket_free(sp_bucket *bucket) {
    sp_text_table_free(&bucket->partition_key_table);
    sp_text_table_free(&bucket->explicit_hash_key_table);
    free(bucket->partition_keys.bytes);
    free(bucket->explicit_hash_keys.bytes);
    free(bucket->records.bytes);
    free(bucket->payloads);
    *bucket = sp_bucket_make(bucket->shard_index);
}
