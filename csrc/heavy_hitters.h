/* The keys that most bytes come with: frequent items after Misra and Gries, in bounded memory.
 *
 * Bytes are sampled, not records: picks lie at random along the bytes of all user records behind one another, 4,096
 * apart on average, so that a record costs a subtraction and a byte of any key is as likely to be picked as any other:
 * picks × SP_BYTES_A_PICK is unbiased. Gaps are uniform, the first one as if the picks had always been there.
 *
 * A table counts the picks of a key. When it is full, the median of the counts (of a sample of them) is taken off all,
 * and what has none left is forgotten; `offset` adds up what was taken off. So of all picks of a key, at least its
 * count were seen, and at most as many more as `offset`, which stays below about 2 / SP_HEAVY_HITTERS of all picks.
 * Source: Anderson et al., A High-Performance Algorithm for Identifying Frequent Items in Data Streams, 2017.
 *
 * Everything halves every SP_HALF_LIFE seconds, the time that it is a rate over too: what was heavy long ago is not.
 *
 * A key is known by 64 bits made of its hash key and its text under a secret seed. One thread adds; any may copy.
 */
#ifndef SP_HEAVY_HITTERS_H
#define SP_HEAVY_HITTERS_H

#include "lock.h"
#include "stage.h"

enum {
    SP_HEAVY_HITTERS = 4096, /* keys, at most */
    SP_LONGEST_GAP = 8192,   /* bytes; gaps have 1 … so many */
    SP_LONGEST_KEY = 1024,   /* bytes: 256 characters */
};

#define SP_HALF_LIFE 10.0 /* seconds */
#define SP_BYTES_A_PICK ((SP_LONGEST_GAP + 1) / 2.0)

typedef struct {
    uint64_t id;
    double picks;
    sp_hash_key hash_key;
    uint32_t key_offset, key_size;
} sp_heavy_hitter;

typedef struct {
    sp_heavy_hitter *items; /* in the order of their keys in `keys` */
    uint32_t count;
    uint8_t *keys;
    size_t keys_size, keys_capacity;
    double offset;
    double seconds, aged_at; /* what the picks are a rate over; until when they have aged */
} sp_heavy_keys;

typedef struct {
    sp_lock lock; /* of what follows but for `gap` and `random`, which are the adding thread's */
    sp_heavy_keys keys;
    uint32_t *slots; /* an item's index + 1, or 0 */
    sp_seed seed;
    size_t gap; /* bytes before the next pick, and that one */
    uint64_t random;
} sp_heavy_hitters;

/* 1, or 0 without memory. `seed` is secret. */
int sp_heavy_hitters_init(sp_heavy_hitters *hitters, sp_seed seed, double now);

/* Count the first `count` user records of a stage that was routed. Keyless ones have no key to be counted. Where memory
 * runs out a key is not noted. */
void sp_heavy_hitters_add(sp_heavy_hitters *hitters, const sp_stage *stage, uint32_t count);

/* Let it be so late, in seconds of a clock that does not go back. */
void sp_heavy_hitters_age(sp_heavy_hitters *hitters, double now);

/* Copy the keys out, which are the caller's to free then: 1, or 0 without memory. */
int sp_heavy_hitters_copy(sp_heavy_hitters *hitters, sp_heavy_keys *out);
void sp_heavy_keys_free(sp_heavy_keys *keys);

/* Bytes of memory that it owns. */
size_t sp_heavy_hitters_memory(const sp_heavy_hitters *hitters);

void sp_heavy_hitters_free(sp_heavy_hitters *hitters);

#endif
