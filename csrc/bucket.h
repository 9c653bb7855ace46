/* A bucket: the user records that wait for one shard, and the exact size of the aggregated record they make.
 *
 * An aggregated record is three sections behind one another: partition keys, explicit hash keys, records. The first two
 * are encoded as they come. Of a user record the bucket holds where its payload is, which is copied once, into its
 * place in the sealed record: a second copy costs more than to come back to it. The payload is its owner's; the owner
 * is the caller's, who takes it back from the bucket's records.
 *
 * The tables hold distinct keys in first-seen order. A bucket belongs to one thread at a time.
 */
#ifndef SP_BUCKET_H
#define SP_BUCKET_H

#include "aggregate.h"
#include "hash_key.h"
#include "text_table.h"

/* Bytes that grow. */
typedef struct {
    uint8_t *bytes;
    size_t size, capacity;
} sp_section;

/* A user record in a bucket. */
typedef struct {
    const uint8_t *data;
    void *owner;
    uint32_t size;
    uint32_t partition_key_index, explicit_hash_key_index;
    uint32_t token; /* less the bucket's first */
} sp_held_record;

/* A user record on its way into a bucket. */
typedef struct {
    sp_slice partition_key, data;
    sp_text key_text;     /* of the partition key, under the bucket's seed */
    sp_hash_key hash_key; /* which places it */
    int has_explicit_hash_key;
    void *owner;    /* of the data */
    uint64_t token; /* the caller's number for it */
} sp_user_record;

typedef struct {
    /* what every addition reads, side by side */
    sp_text_table partition_key_table;
    sp_section partition_keys;
    sp_held_record *records;
    size_t record_count, record_capacity;
    size_t records_size;     /* encoded */
    uint32_t first_key_size; /* of the first user record, and so is the token */
    uint64_t first_token;

    uint32_t shard_index;
    int first_has_magic; /* what the first payload starts with: looked at once, whoever writes to it later */
    sp_section explicit_hash_keys;
    sp_text_table explicit_hash_key_table;
    sp_hash_key first_hash_key; /* of the first user record: the sealed record's */
} sp_bucket;

typedef struct {
    size_t max_size;      /* bytes of a sealed record and its outer partition key */
    uint32_t max_records; /* at least 1 */
    sp_seed seed;
} sp_bucket_limits;

/* Bring into the cache what adding will read: the bucket itself, and where the next record goes. */
static inline void sp_bucket_prefetch(const sp_bucket *bucket) {
    SP_PREFETCH(bucket);
    SP_PREFETCH((const uint8_t *)bucket + 64);
    SP_PREFETCH((const uint8_t *)bucket + 128);
}

static inline void sp_bucket_prefetch_end(const sp_bucket *bucket) {
    if (bucket->records) SP_PREFETCH_WRITE(bucket->records + bucket->record_count);
}

typedef enum { SP_NO_MEMORY = -1, SP_FULL = 0, SP_ADDED = 1 } sp_added;

/* An empty bucket, which owns no memory yet. */
static inline sp_bucket sp_bucket_make(uint32_t shard_index) {
    return (sp_bucket){.shard_index = shard_index};
}

/* Add a user record, unless the limits would be passed: then SP_FULL returns and nothing has changed; so it is with
 * SP_NO_MEMORY. An empty bucket takes any record: alone it can go raw. Full is a bucket too whose last token is larger
 * than the record's, or whose first one is smaller by 2^32. */
sp_added sp_bucket_add(sp_bucket *bucket, const sp_user_record *record, const sp_bucket_limits *limits);

/* Partition key of a user record, and its explicit hash key: 1, or 0 where it has none. */
sp_slice sp_bucket_partition_key(const sp_bucket *bucket, size_t i);
int sp_bucket_explicit_hash_key(const sp_bucket *bucket, size_t i, sp_hash_key *hash_key);

/* Did any user record come with an explicit hash key? */
static inline int sp_bucket_has_explicit_hash_key(const sp_bucket *bucket) {
    return bucket->explicit_hash_key_table.count > 0;
}

/* The partition key of the first user record. */
sp_slice sp_bucket_first_key(const sp_bucket *bucket);

/* Must the bucket become an aggregated record? One user record goes raw, unless its data looks aggregated: consumers
 * would take it apart. */
int sp_bucket_is_aggregate(const sp_bucket *bucket);

/* Bytes of the aggregated record, without its outer partition key. */
size_t sp_bucket_sealed_size(const sp_bucket *bucket);

/* Write the aggregated record but for its last SP_TRAILER_SIZE bytes. Returns the message, whose MD5 belongs there. */
sp_slice sp_bucket_seal(const sp_bucket *bucket, uint8_t *out);

/* Bytes of memory that the bucket owns. */
size_t sp_bucket_memory(const sp_bucket *bucket);

/* Forget the records, keep the memory. The owners of payloads were given back. */
void sp_bucket_clear(sp_bucket *bucket);
void sp_bucket_free(sp_bucket *bucket);

#endif
