/* The router: user records to the buckets of their shards, and full buckets to sealed records.
 *
 *     fill router->stage, sp_router_route     until nothing waits; buckets that cannot take more queue up as full
 *     sp_router_detach                        the others become full too
 *     sp_router_seal                          write the first of the full ones out, checksums in SIMD lanes
 *     sp_router_recycle                       and forget them
 *
 * User records without a partition key go where sp_router_place says: into the bucket of one shard until that is full,
 * then into the next one's. They leave it with the partition key SP_KEYLESS and the place as explicit hash key.
 *
 * Owners of payloads are the caller's: he takes back those of the full buckets' records before he recycles them, and
 * those of all buckets before he frees. Emptied buckets serve again; SP_SPARE_MEMORY bounds what is kept of them.
 * A router belongs to one thread at a time.
 */
#ifndef SP_ROUTER_H
#define SP_ROUTER_H

#include "bucket.h"
#include "md5.h"
#include "shard_table.h"
#include "stage.h"

enum {
    SP_SPARE_MEMORY = 48 << 20, /* bytes of emptied buckets, at most */
    SP_SEAL_BATCH = 32,         /* records whose checksums share lanes */
};

#define SP_KEYLESS "-" /* the partition key of a user record that was given none: the service asks for one */

/* Buckets in a growable array. */
typedef struct {
    sp_bucket *buckets;
    size_t count, capacity;
} sp_bucket_stack;

typedef struct {
    const sp_shard_table *shards;
    sp_md5_many_fn *md5;
    sp_bucket_limits limits;
    sp_bucket *buckets; /* one a shard */
    sp_bucket_stack full, spare;
    size_t full_size;                         /* bytes that the full ones take sealed */
    size_t spare_memory;                      /* bytes that the spare ones own */
    sp_hash_key *places;                      /* for keyless user records; their turn comes round */
    size_t place_count, place, places_passed; /* the last: how often the place has changed since they were said */
    uint32_t place_shard;
    sp_stage stage;
} sp_router;

/* Make a router of the shards of a table, which stays the caller's: 1, or 0 without memory. */
int sp_router_init(sp_router *router, const sp_shard_table *shards, sp_md5_many_fn *md5, sp_bucket_limits limits);

/* Say where keyless user records go from the next full bucket on: hash keys, in turn. 1, or 0 without memory, and then
 * nothing has changed. Before it was said, hash key 0 is the only place. */
int sp_router_place(sp_router *router, const sp_hash_key *places, size_t count);

/* Bucket the user records of the stage in order. Returns how many; fewer than all when memory ran out. */
uint32_t sp_router_route(sp_router *router);

/* Queue up whatever buckets hold, in the order of their shards: 1, or 0 without memory, and then nothing has changed.
 */
int sp_router_detach(sp_router *router);

/* The same with one shard's. */
int sp_router_detach_one(sp_router *router, uint32_t shard);

/* Route the user records of a bucket, which is not the router's, from the one numbered `*done` on. They are this
 * router's then, their owners too, and `*done` says how many: 1, or 0 when memory ran out before all were. */
int sp_router_reroute(sp_router *router, const sp_bucket *bucket, size_t *done);

/* Are the hash keys of all user records of a bucket in first … last? The stage is used for it. */
int sp_router_lie_in(sp_router *router, const sp_bucket *bucket, sp_hash_key first, sp_hash_key last);

/* Write those of the buckets that become aggregated records, each to its `out`. */
void sp_seal_many(sp_md5_many_fn *md5, const sp_bucket *const *buckets, size_t count, uint8_t *const *outs);

/* Write those of the first `count` full buckets that become aggregated records, each to its `out`. */
void sp_router_seal(const sp_router *router, size_t count, uint8_t *const *outs);

/* Take the first `count` buckets out of the queue. */
void sp_router_recycle(sp_router *router, size_t count);

/* The same with buckets that are the caller's now, their memory too. */
void sp_router_forget(sp_router *router, size_t count);

void sp_router_free(sp_router *router);

#endif
