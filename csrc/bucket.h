/* A bucket: the user records that wait for one shard, and what they will measure once sealed.
 *
 * Everything is held by reference until it is written. The tables of distinct keys grow in first-seen
 * order, found through open addressing and compared by bytes: two different keys with one MD5 stay two
 * keys. The exact size of the aggregated record is known after every addition.
 *
 * A bucket belongs to one thread at a time. References (`owner`) are the caller's: opaque here.
 */
#ifndef SP_BUCKET_H
#define SP_BUCKET_H

#include "aggregate.h"

/* A user record on its way into a bucket. The sizes were checked at the door. */
typedef struct {
    const uint8_t *partition_key, *data;
    void *partition_key_owner, *data_owner;
    uint32_t data_size;
    uint16_t partition_key_size;
    uint8_t has_explicit_hash_key;
} sp_staged_record;

/* Open addressing over a table whose entries have a 64-bit hash: slots hold index + 1, or 0. */
typedef struct {
    uint64_t *hashes; /* one per table entry */
    uint32_t *slots;
    uint32_t slot_count; /* a power of two, or 0 */
    uint32_t count, capacity;
} sp_key_index;

typedef struct {
    sp_key_index partition_key_index;
    sp_slice *partition_keys;
    void **partition_key_owners;

    sp_key_index explicit_hash_key_index;
    sp_explicit_hash_key *explicit_hash_keys;

    sp_user_record *records;
    void **data_owners;
    uint32_t record_count, record_capacity;

    uint32_t shard_index;
    sp_hash_key first_hash_key; /* the outer record's explicit hash key */
    size_t size;                /* bytes of the aggregated record and of its outer partition key */
} sp_bucket;

enum { SP_ADDED = 1, SP_ADDED_WITH_KEY = 2, SP_FULL = 0, SP_NO_MEMORY = -1 };

/* Add a user record, unless the sealed record would pass `max_size` bytes or `max_records`: then
 * nothing changes and SP_FULL returns. An empty bucket takes any record: alone it is sent raw.
 * `digest` is the MD5 of the partition key. `explicit_hash_key` is read when the record has one.
 * SP_ADDED: the bucket keeps data_owner. SP_ADDED_WITH_KEY: and partition_key_owner. Else: neither. */
int sp_bucket_add(sp_bucket *bucket, const sp_staged_record *record, const uint8_t *digest,
                  sp_hash_key explicit_hash_key, size_t max_size, uint32_t max_records);

/* Does the bucket become an aggregated record? One user record goes raw, unless its data starts with
 * the magic: consumers would take it apart. */
int sp_bucket_is_aggregate(const sp_bucket *bucket);

sp_aggregate sp_bucket_aggregate(const sp_bucket *bucket);

/* Bytes of the aggregated record alone, as sp_aggregate_write and the digest fill them. */
size_t sp_bucket_data_size(const sp_bucket *bucket);

/* An empty bucket, which owns no memory yet. */
static inline sp_bucket sp_bucket_make(uint32_t shard_index) {
    return (sp_bucket){.shard_index = shard_index};
}

/* Forget the records, keep the memory. The references are the caller's to give back first. */
void sp_bucket_clear(sp_bucket *bucket);
void sp_bucket_free(sp_bucket *bucket);

#endif
