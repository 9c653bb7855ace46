/* The aggregated record: its exact size, and its bytes.
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
 * Nothing here checks or allocates: the caller asks for the size, allocates it, and has it filled.
 */
#ifndef SP_AGGREGATE_H
#define SP_AGGREGATE_H

#include "hash_key.h"
#include "slice.h"
#include "varint.h"

#define SP_MAGIC "\xf3\x89\x9a\xc2"
enum { SP_MAGIC_SIZE = 4, SP_TRAILER_SIZE = 16 };

#define SP_NO_INDEX UINT32_MAX /* the explicit hash key index of a user record that has none */

/* A user record as it waits in its bucket. */
typedef struct {
    const uint8_t *data;
    uint32_t data_size;
    uint32_t partition_key_index;
    uint32_t explicit_hash_key_index;
} sp_user_record;

typedef struct {
    sp_hash_key value;
    uint8_t text_size; /* the canonical decimal form */
    uint8_t text[SP_HASH_KEY_MAX_DIGITS];
} sp_explicit_hash_key;

typedef struct {
    const sp_slice *partition_keys;
    size_t partition_key_count;
    const sp_explicit_hash_key *explicit_hash_keys;
    size_t explicit_hash_key_count;
    const sp_user_record *records;
    size_t record_count;
} sp_aggregate;

/* What one more field adds to the message. */
static inline size_t sp_field_size(size_t content_size) {
    return 1 + sp_varint_size(content_size) + content_size;
}

/* The content of a record field, without its own tag and length. */
static inline size_t sp_record_content_size(size_t data_size, uint32_t partition_key_index,
                                            uint32_t explicit_hash_key_index) {
    size_t size = 1 + sp_varint_size(partition_key_index) + sp_field_size(data_size);
    if (explicit_hash_key_index != SP_NO_INDEX) size += 1 + sp_varint_size(explicit_hash_key_index);
    return size;
}

/* Bytes of an aggregated record that holds one user record. `explicit_hash_key_digits` is 0 without one. */
size_t sp_aggregate_size_of_one(size_t partition_key_size, size_t explicit_hash_key_digits, size_t data_size);

/* Write the magic and the message. Returns the end of the message, where its MD5 belongs. */
uint8_t *sp_aggregate_write(const sp_aggregate *aggregate, uint8_t *out);

#endif
