#include "aggregate.h"

#include <string.h>

enum { TAG_PARTITION_KEY = 0x0a, TAG_EXPLICIT_HASH_KEY = 0x12, TAG_RECORD = 0x1a };
enum { TAG_PARTITION_KEY_INDEX = 0x08, TAG_EXPLICIT_HASH_KEY_INDEX = 0x10, TAG_DATA = 0x1a };

size_t sp_aggregate_size_of_one(size_t partition_key_size, size_t explicit_hash_key_digits, size_t data_size) {
    uint32_t explicit_hash_key_index = explicit_hash_key_digits ? 0 : SP_NO_INDEX;
    size_t size = SP_MAGIC_SIZE + sp_field_size(partition_key_size) + SP_TRAILER_SIZE;
    if (explicit_hash_key_digits) size += sp_field_size(explicit_hash_key_digits);
    return size + sp_field_size(sp_record_content_size(data_size, 0, explicit_hash_key_index));
}

static uint8_t *write_bytes(uint8_t *out, uint8_t tag, const uint8_t *data, size_t size) {
    *out++ = tag;
    out = sp_varint_write(out, size);
    if (size) memcpy(out, data, size);
    return out + size;
}

static uint8_t *write_record(uint8_t *out, const sp_user_record *record) {
    *out++ = TAG_RECORD;
    out = sp_varint_write(
        out, sp_record_content_size(record->data_size, record->partition_key_index, record->explicit_hash_key_index));
    *out++ = TAG_PARTITION_KEY_INDEX;
    out = sp_varint_write(out, record->partition_key_index);
    if (record->explicit_hash_key_index != SP_NO_INDEX) {
        *out++ = TAG_EXPLICIT_HASH_KEY_INDEX;
        out = sp_varint_write(out, record->explicit_hash_key_index);
    }
    return write_bytes(out, TAG_DATA, record->data, record->data_size);
}

uint8_t *sp_aggregate_write(const sp_aggregate *aggregate, uint8_t *out) {
    memcpy(out, SP_MAGIC, SP_MAGIC_SIZE);
    out += SP_MAGIC_SIZE;
    for (size_t i = 0; i < aggregate->partition_key_count; i++) {
        sp_slice key = aggregate->partition_keys[i];
        out = write_bytes(out, TAG_PARTITION_KEY, key.data, key.size);
    }
    for (size_t i = 0; i < aggregate->explicit_hash_key_count; i++) {
        const sp_explicit_hash_key *key = &aggregate->explicit_hash_keys[i];
        out = write_bytes(out, TAG_EXPLICIT_HASH_KEY, key->text, key->text_size);
    }
    for (size_t i = 0; i < aggregate->record_count; i++) out = write_record(out, &aggregate->records[i]);
    return out;
}
