/* From a hash key to the index of the shard whose range holds it.
 *
 * The shards of a stream cover 0 .. 2^128-1 without gaps, so their ordered starts say everything. A
 * prefix table, indexed by the top bits of the hash key, names the first shard that can hold it; a
 * stream split evenly needs a step or two from there, any other a binary search between two entries.
 * With at least four prefixes a shard, 10,000 shards cost what 10 do.
 *
 * The table borrows both arrays; it is read-only once made, and safe from any thread.
 */
#ifndef SP_SHARD_TABLE_H
#define SP_SHARD_TABLE_H

#include "hash_key.h"

typedef struct {
    const sp_hash_key *starts; /* ascending; starts[0] is 0 */
    const uint32_t *prefixes;  /* (1 << prefix_bits) + 1 entries */
    uint32_t count;
    uint32_t prefix_bits;
} sp_shard_table;

/* How many entries the prefix array of a table of `count` shards needs. */
size_t sp_shard_table_prefix_count(uint32_t count);

/* Make a table of `count` >= 1 shards over `starts`; fills `prefixes`. */
sp_shard_table sp_shard_table_make(const sp_hash_key *starts, uint32_t count, uint32_t *prefixes);

/* The index of the shard that holds `key`. */
static inline uint32_t sp_shard_table_find(const sp_shard_table *table, sp_hash_key key) {
    uint64_t prefix = key.high >> (64 - table->prefix_bits);
    uint32_t low = table->prefixes[prefix], high = table->prefixes[prefix + 1];
    while (low < high) { /* the last start that is not greater than the key */
        uint32_t middle = high - (high - low) / 2;
        if (sp_hash_key_less(key, table->starts[middle])) {
            high = middle - 1;
        } else {
            low = middle;
        }
    }
    return low;
}

#endif
