/* The aggregated record: the grammar, and the exact size of each part.
 *
 *     aggregated record = F3 89 9A C2, message, MD5(message)
 *     message (proto2)  = (0A length key)*                       1: partition_key_table
 *                         (12 length digits)*                    2: explicit_hash_key_table
 *                         (1A length record)*                    3: records
 *     record            = 08 index [10 index] 1A length data     1, 2: into the tables; 3: data
 *
 * in this order, so the message is byte for byte what protobuf's SerializeToString writes.
 * Format: https://github.com/awslabs/amazon-kinesis-producer/blob/master/aggregation-format.md
 *
 * Writers check nothing and return the end of what they wrote; the caller has made room for sp_..._size.
 */
#ifndef SP_AGGREGATE_H
#define SP_AGGREGATE_H

#include <string.h>

#include "compressed.h"
#include "slice.h"
#include "varint.h"

#define SP_MAGIC "\xf3\x89\x9a\xc2"
enum { SP_MAGIC_SIZE = 4, SP_TRAILER_SIZE = 16 };

enum { SP_TAG_PARTITION_KEY = 0x0a, SP_TAG_EXPLICIT_HASH_KEY = 0x12, SP_TAG_RECORD = 0x1a };
enum { SP_TAG_PARTITION_KEY_INDEX = 0x08, SP_TAG_EXPLICIT_HASH_KEY_INDEX = 0x10, SP_TAG_DATA = 0x1a };

#define SP_NO_INDEX UINT32_MAX /* the explicit hash key index of a user record that has none */

/* A field of bytes: tag, length, content. */
static inline size_t sp_field_size(size_t content_size) {
    return 1 + sp_varint_size(content_size) + content_size;
}

static inline uint8_t *sp_field_write(uint8_t *out, uint8_t tag, sp_slice content) {
    *out++ = tag;
    out = sp_varint_write(out, content.size);
    if (content.size) memcpy(out, content.data, content.size);
    return out + content.size;
}

/* What a record field holds, without its own tag and length. */
static inline size_t sp_record_content_size(size_t data_size, uint32_t key_index, uint32_t explicit_index) {
    size_t size = 1 + sp_varint_size(key_index) + sp_field_size(data_size);
    if (explicit_index != SP_NO_INDEX) size += 1 + sp_varint_size(explicit_index);
    return size;
}

/* Write the record field, of content of the size that sp_record_content_size gave, up to where its data begins. */
static inline uint8_t *sp_record_head_write(uint8_t *out, size_t content_size, size_t data_size, uint32_t key_index,
                                            uint32_t explicit_index) {
    *out++ = SP_TAG_RECORD;
    out = sp_varint_write(out, content_size);
    *out++ = SP_TAG_PARTITION_KEY_INDEX;
    out = sp_varint_write(out, key_index);
    if (explicit_index != SP_NO_INDEX) {
        *out++ = SP_TAG_EXPLICIT_HASH_KEY_INDEX;
        out = sp_varint_write(out, explicit_index);
    }
    *out++ = SP_TAG_DATA;
    return sp_varint_write(out, data_size);
}

/* The same with its data. */
static inline uint8_t *sp_record_write(uint8_t *out, size_t content_size, sp_slice data, uint32_t key_index,
                                       uint32_t explicit_index) {
    out = sp_record_head_write(out, content_size, data.size, key_index, explicit_index);
    if (data.size) memcpy(out, data.data, data.size);
    return out + data.size;
}

static inline int sp_starts_with_magic(sp_slice data) {
    return data.size >= SP_MAGIC_SIZE && memcmp(data.data, SP_MAGIC, SP_MAGIC_SIZE) == 0;
}

/* Would a reader take this apart, as an aggregated record or a compressed one? */
static inline int sp_looks_aggregated(sp_slice data) {
    return sp_starts_with_magic(data) || sp_is_compressed(data);
}

/* Bytes of an aggregated record of one user record; `digits` of its explicit hash key, 0 without one. */
static inline size_t sp_aggregate_size_of_one(size_t key_size, size_t digits, size_t data_size) {
    size_t size = SP_MAGIC_SIZE + sp_field_size(key_size) + SP_TRAILER_SIZE;
    if (digits) size += sp_field_size(digits);
    return size + sp_field_size(sp_record_content_size(data_size, 0, digits ? 0 : SP_NO_INDEX));
}

#endif
