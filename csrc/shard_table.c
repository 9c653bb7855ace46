/* prefixes[p] is the shard that holds the first hash key of prefix p, so every hash key of prefix p is
 * in a shard from prefixes[p] to prefixes[p + 1]; the entry past the last prefix is the last shard. */
#include "shard_table.h"

enum { MIN_PREFIX_BITS = 4, MAX_PREFIX_BITS = 20, PREFIXES_PER_SHARD = 4 };

static uint32_t prefix_bits(uint32_t count) {
    uint32_t bits = MIN_PREFIX_BITS;
    while (bits < MAX_PREFIX_BITS && ((uint64_t)1 << bits) < (uint64_t)count * PREFIXES_PER_SHARD) bits++;
    return bits;
}

size_t sp_shard_table_prefix_count(uint32_t count) {
    return ((size_t)1 << prefix_bits(count)) + 1;
}

sp_shard_table sp_shard_table_make(const sp_hash_key *starts, uint32_t count, uint32_t *prefixes) {
    uint32_t bits = prefix_bits(count), shard = 0;
    for (uint64_t p = 0; p < (uint64_t)1 << bits; p++) {
        sp_hash_key first = {p << (64 - bits), 0};
        while (shard + 1 < count && !sp_hash_key_less(first, starts[shard + 1])) shard++;
        prefixes[p] = shard;
    }
    prefixes[(size_t)1 << bits] = count - 1;
    return (sp_shard_table){starts, prefixes, count, bits};
}
