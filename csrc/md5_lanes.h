/* MD5 of many messages in the lanes of vectors: everything but the vectors.
 *
 * Included once by each file of one instruction set, which defines first
 *     TARGET                       the function attribute that turns the instruction set on
 *     LANES, vec                   how many 32-bit lanes a vector has, and its type
 *     set1(t) add(x, y) ROTL(x, s) lane by lane
 *     add_F(x, b, c, d) to add_I   x + f(b, c, d)
 *     load_vec(p) store_vec(p, x)  LANES words, p aligned to the vector
 *     load_blocks(w, next, at)     the 16 words of the blocks at next[lane] + at
 *     load_short(w, m)             the 16 words of the padded blocks of LANES messages, <= 55 bytes
 *     load_tiny(w, m)              words 0 to 3 and 14 of the same, <= 15 bytes: the others are 0
 *     store_digests(out, state)    the digests, in the order of load_short's messages
 *     READY(x)                     a barrier: x is computed here
 *     HIDE(p)                      the compiler may not know where p points, so that set1(p[i]) is
 *                                  a broadcasting load; or nothing, where there is no such load
 *     WITHOUT_TINY                 if so, no copy of the steps for tiny messages, and no load_tiny: less code, for
 *                                  kernels that few machines run, or for few messages only
 *     FEW, NARROWER(what)          up to so many messages sp_md5_<what>_<other kernel> is faster
 * and gets
 *     hash_many(messages, n, digests)
 *     compress_live(...)           as sp_md5_compress_fn
 *
 * Two vectors of messages are in flight: a step is a chain of dependent operations, and the second
 * chain fills the cycles in which the first one waits. This file does the work on the vectors;
 * md5_schedule.h decides which message is in which lane.
 */
#include "md5_rounds.h"

#define INLINE TARGET static SP_ALWAYS_INLINE
#define GROUPS 2
#define WIDTH (GROUPS * LANES)

enum {
    TINY_MAX = 15, /* with the 0x80 these fill words 0 to 3 */
    AHEAD = 128,   /* how far before its use a line is asked for */
};

/* The steps, for one or two groups, vectors of messages, by turns.
 *
 * READY keeps the compiler from adding w and t behind f, which would lengthen the chain from b to
 * the next b. Every other step also asks for what one lane will read later: two blocks on in
 * `next`, if given, else the data of a slice of `after`. Asked for all at once, they would wait for
 * one another.
 */

#define EACH_GROUP(...)                                                                                                \
    {                                                                                                                  \
        enum { g = 0 };                                                                                                \
        __VA_ARGS__                                                                                                    \
    }                                                                                                                  \
    if (groups == 2) {                                                                                                 \
        enum { g = 1 };                                                                                                \
        __VA_ARGS__                                                                                                    \
    }
#define PREFETCH(p) SP_PREFETCH((const void *)(p))
#define STEP(f, a, b, c, d, step, k, s, sine)                                                                          \
    t = set1(sines[step]);                                                                                             \
    if (step % 2 == 0 && step / 2 < groups * LANES) {                                                                  \
        if (next) {                                                                                                    \
            PREFETCH((uintptr_t)next[step / 2] + at + AHEAD); /* may pass the end: no pointer */                       \
        } else {                                                                                                       \
            PREFETCH(after[step / 2].data);                                                                            \
        }                                                                                                              \
    }                                                                                                                  \
    EACH_GROUP(vec x = add(add(a[g], w[g][k]), t); READY(x); a[g] = add(b[g], ROTL(add_##f(x, b[g], c[g], d[g]), s));)
#define SINE(f, a, b, c, d, step, k, s, sine) sine,

static const uint32_t sine_table[64] = {SP_MD5_STEPS(SINE)};

INLINE void rounds(vec state[][4], vec w[][16], int groups, const uint8_t *const *next, size_t at,
                   const sp_slice *after) {
    const uint32_t *sines = sine_table;
    vec a[GROUPS], b[GROUPS], c[GROUPS], d[GROUPS], t;

    HIDE(sines);
    EACH_GROUP(a[g] = state[g][0]; b[g] = state[g][1]; c[g] = state[g][2]; d[g] = state[g][3];)
    SP_MD5_STEPS(STEP)
    EACH_GROUP(state[g][0] = add(state[g][0], a[g]); state[g][1] = add(state[g][1], b[g]);
               state[g][2] = add(state[g][2], c[g]); state[g][3] = add(state[g][3], d[g]);)
}

/* WIDTH messages of one block. `after` are those to be hashed next, or any other slices. */

INLINE void load_one_block(vec state[4], vec w[16], const sp_slice m[LANES], int tiny) {
    for (int j = 0; j < 4; j++) {
        state[j] = set1(sp_md5_initial[j]);
    }
#ifndef WITHOUT_TINY
    if (tiny) {
        for (int k = 0; k < 16; k++) {
            w[k] = set1(0);
        }
        load_tiny(w, m);
        return;
    }
#else
    (void)tiny;
#endif
    load_short(w, m);
}

INLINE void hash_blocks(const sp_slice m[WIDTH], const sp_slice after[WIDTH], uint8_t *digests, int tiny) {
    vec state[GROUPS][4], w[GROUPS][16];

    load_one_block(state[0], w[0], m, tiny);
    load_one_block(state[1], w[1], m + LANES, tiny);
    rounds(state, w, GROUPS, NULL, 0, after);
    store_digests(digests, state[0]);
    store_digests(digests + SP_MD5_DIGEST_SIZE * LANES, state[1]);
}

#ifndef WITHOUT_TINY
/* Apart from hash_short, because words that are zero for certain drop out of the steps. */
TARGET static SP_NOINLINE void hash_tiny(const sp_slice m[WIDTH], const sp_slice after[WIDTH], uint8_t *digests) {
    hash_blocks(m, after, digests, 1);
}
#endif

TARGET static SP_NOINLINE void hash_short(const sp_slice m[WIDTH], const sp_slice after[WIDTH], uint8_t *digests) {
    hash_blocks(m, after, digests, 0);
}

INLINE void hash_one_block(const sp_slice m[WIDTH], const sp_slice after[WIDTH], uint8_t *digests) {
#ifndef WITHOUT_TINY
    size_t sizes = 0;

    for (size_t i = 0; i < WIDTH; i++) {
        sizes |= m[i].size; /* exact for the question below: 15 is all ones */
    }
    if (sizes <= TINY_MAX) {
        hash_tiny(m, after, digests);
        return;
    }
#endif
    hash_short(m, after, digests);
}

/* Fold `blocks` blocks of each lane of the first `groups` vectors into their states, which lie in
 * four rows, `stride` words apart. */
INLINE void compress_groups(uint32_t *rows, size_t stride, const uint8_t *const *next, size_t blocks, int groups) {
    vec state[GROUPS][4], w[GROUPS][16];

    for (size_t j = 0; j < 4; j++) {
        EACH_GROUP(state[g][j] = load_vec(rows + j * stride + g * LANES);)
    }
    for (size_t at = 0; at < blocks * SP_MD5_BLOCK_SIZE; at += SP_MD5_BLOCK_SIZE) {
        EACH_GROUP(load_blocks(w[g], next + g * LANES, at);)
        rounds(state, w, groups, next, at, NULL);
    }
    for (size_t j = 0; j < 4; j++) {
        EACH_GROUP(store_vec(rows + j * stride + g * LANES, state[g][j]);)
    }
}

TARGET static SP_NOINLINE void compress_one(uint32_t *rows, size_t stride, const uint8_t *const *next, size_t blocks) {
    compress_groups(rows, stride, next, blocks, 1);
}

TARGET static SP_NOINLINE void compress_two(uint32_t *rows, size_t stride, const uint8_t *const *next, size_t blocks) {
    compress_groups(rows, stride, next, blocks, 2);
}

/* The same for `live` lanes, by the fastest way. */
TARGET static void compress_live(uint32_t *rows, size_t stride, const uint8_t *const *next, size_t blocks,
                                 size_t live) {
    if (live <= FEW) {
        NARROWER(compress)(rows, stride, next, blocks, live);
    } else if (live <= LANES) {
        compress_one(rows, stride, next, blocks);
    } else {
        compress_two(rows, stride, next, blocks);
    }
}

#include "md5_schedule.h"
