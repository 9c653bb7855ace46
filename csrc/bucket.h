/* A bucket: the user records that wait for one shard, by reference, and their keys.
 *
 * An aggregated record is three sections behind one another: partition keys, explicit hash keys, records. The tables of
 * keys grow encoded, in buffers of their own; records are held as what they will need, their places in the tables being
 * known when they come. So the exact size of the sealed record follows at every step, and each payload is copied once,
 * into its place in it. What keeps a payload alive is held beside it for the caller, who gives it back.
 *
 * The tables hold distinct keys in first-seen order, found through open addressing and compared by their bytes: two
 * different keys with one MD5 stay two keys. A bucket belongs to one thread at a time.
 */
#ifndef SP_BUCKET_H
#define SP_BUCKET_H

#include "aggregate.h"
#include "hash_key.h"

/* Bytes that grow. */
typedef struct {
    uint8_t *bytes;
    size_t size, capacity;
} sp_section;

/* What is compared, nearly always the whole key: of a partition key its first and last 8 bytes, which overlap or fall
 * short where it is short, and its size; of an explicit hash key both its halves. */
typedef struct {
    uint64_t first, last;
    uint32_t size;
    uint32_t offset; /* of the bytes of a partition key in its section; not compared */
    uint64_t hash;   /* not compared: it only finds the slot again */
} sp_table_entry;

enum { SP_SLOTS_PER_ENTRY = 4 };

/* A table's entries by hash. Slots hold an entry's index + 1, or 0; at most a quarter of them are taken, so that the
 * first one looked at is nearly always the last. */
typedef struct {
    sp_table_entry *entries;
    uint32_t *slots;
    uint32_t count, capacity;
} sp_table;

/* An MD5 is as good as any of its bytes, but of one shard's all first ones are the same. */
static inline uint64_t sp_partition_key_hash(const uint8_t *digest) {
    return sp_load64(digest + 8);
}

static inline uint32_t sp_table_slot(const sp_table *table, uint64_t hash) {
    return (uint32_t)hash & (table->capacity * SP_SLOTS_PER_ENTRY - 1);
}

/* A user record that waits. */
typedef struct {
    const uint8_t *data;
    void *owner; /* of the data: the caller's */
    uint32_t size;
    uint32_t partition_key_index, explicit_hash_key_index;
} sp_held_record;

/* How much a bucket held at some time: what is added later can be undone. */
typedef struct {
    uint64_t time; /* 0 when nothing was noted */
    size_t partition_keys, explicit_hash_keys, records_size;
    uint32_t partition_key_count, explicit_hash_key_count, record_count;
} sp_bucket_mark;

typedef struct {
    /* what every addition reads, side by side */
    sp_table partition_key_table;
    sp_section partition_keys;
    sp_held_record *records;
    size_t records_size; /* encoded */
    uint32_t record_count, record_capacity;
    uint32_t first_key_size; /* of the first partition key: the sealed record's */

    sp_section explicit_hash_keys;
    sp_table explicit_hash_key_table;
    sp_hash_key first_hash_key; /* of the first user record: the sealed record's */
    uint32_t shard_index;
    sp_bucket_mark mark;
} sp_bucket;

typedef struct {
    size_t max_size;      /* bytes of a sealed record and its outer partition key */
    uint32_t max_records; /* at least 1 */
} sp_bucket_limits;

/* Bring into the cache what adding a record with this partition key will read, a step at a time: the bucket itself; its
 * table's slot and the place where the record goes; the entry that the slot names. */
static inline void sp_bucket_prefetch(const sp_bucket *bucket) {
    __builtin_prefetch(bucket);
    __builtin_prefetch((const uint8_t *)bucket + 64);
}

static inline void sp_bucket_prefetch_slot(const sp_bucket *bucket, const uint8_t *digest) {
    const sp_table *table = &bucket->partition_key_table;
    if (table->count) __builtin_prefetch(&table->slots[sp_table_slot(table, sp_partition_key_hash(digest))]);
    if (bucket->records) __builtin_prefetch(&bucket->records[bucket->record_count], 1);
}

static inline void sp_bucket_prefetch_entry(const sp_bucket *bucket, const uint8_t *digest) {
    const sp_table *table = &bucket->partition_key_table;
    if (!table->count) return;
    uint32_t slot = table->slots[sp_table_slot(table, sp_partition_key_hash(digest))];
    if (slot) __builtin_prefetch(&table->entries[slot - 1]);
}

enum { SP_ADDED = 1, SP_FULL = 0, SP_NO_MEMORY = -1 };

/* An empty bucket, which owns no memory yet. */
static inline sp_bucket sp_bucket_make(uint32_t shard_index) {
    return (sp_bucket){.shard_index = shard_index};
}

/* Add a user record, whose `owner` keeps its data alive, unless the limits would be passed: then SP_FULL returns and
 * nothing has changed; so it is with SP_NO_MEMORY. An empty bucket takes any record: alone it can go raw. `digest` is
 * the MD5 of the partition key; `explicit_hash_key` is NULL without one. */
int sp_bucket_add(sp_bucket *bucket, sp_slice partition_key, sp_slice data, void *owner, const uint8_t *digest,
                  const sp_hash_key *explicit_hash_key, sp_bucket_limits limits);

/* Note what the bucket holds, unless that was done at this time already; and go back to it, if it was. */
void sp_bucket_note_now(sp_bucket *bucket, uint64_t time);
static inline void sp_bucket_note(sp_bucket *bucket, uint64_t time) {
    if (bucket->mark.time != time) sp_bucket_note_now(bucket, time);
}
void sp_bucket_undo(sp_bucket *bucket, uint64_t time);

/* Did any user record come with an explicit hash key? */
static inline int sp_bucket_has_explicit_hash_key(const sp_bucket *bucket) {
    return bucket->explicit_hash_key_table.count > 0;
}

/* The partition key of the first user record. */
sp_slice sp_bucket_first_key(const sp_bucket *bucket);

/* Must the bucket become an aggregated record? One user record goes raw, unless its data starts with the magic:
 * consumers would take it apart. */
int sp_bucket_is_aggregate(const sp_bucket *bucket);

/* Bytes of the aggregated record, without its outer partition key. */
size_t sp_bucket_sealed_size(const sp_bucket *bucket);

/* Write the aggregated record but for its last SP_TRAILER_SIZE bytes. Returns the message, whose MD5 belongs there. */
sp_slice sp_bucket_seal(const sp_bucket *bucket, uint8_t *out);

/* Forget the records, keep the memory. */
void sp_bucket_clear(sp_bucket *bucket);
void sp_bucket_free(sp_bucket *bucket);

#endif
