/* MD5 of 8 messages at once: two vectors of 4 lanes, NEON.
 *
 * A rotation is a shift and a shift with insertion, bit selection is F and G, and or-not is in I:
 *     F = b ? c : d      G = d ? b : c      H = b ^ (c ^ d)      I = c ^ (b | ~d)
 */
#if defined(__aarch64__) && !defined(__ARM_BIG_ENDIAN)

#include <arm_neon.h>

#include "md5_short.h"

#define TARGET /* every AArch64 processor has it */
#define LANES 4
#define FEW 1
#define NARROWER(what) sp_md5_##what##_portable

typedef uint32x4_t vec;

#define READY(x) SP_COMPUTED("w", x)
#define HIDE(p) SP_HIDDEN(p) /* constants come by replicating loads, 4 bytes each */

static inline vec set1(uint32_t x) {
    return vdupq_n_u32(x);
}

static inline vec add(vec x, vec y) {
    return vaddq_u32(x, y);
}

#define ROTL(x, s) vsriq_n_u32(vshlq_n_u32(x, s), x, 32 - (s))

static inline vec add_F(vec x, vec b, vec c, vec d) {
    return add(x, vbslq_u32(b, c, d));
}

static inline vec add_G(vec x, vec b, vec c, vec d) {
    return add(x, vbslq_u32(d, b, c));
}

static inline vec add_H(vec x, vec b, vec c, vec d) {
    return add(x, veorq_u32(b, veorq_u32(c, d)));
}

static inline vec add_I(vec x, vec b, vec c, vec d) {
    return add(x, veorq_u32(c, vornq_u32(b, d)));
}

static inline vec load_vec(const uint32_t *p) {
    return vld1q_u32(p);
}

static inline void store_vec(uint32_t *p, vec x) {
    vst1q_u32(p, x);
}

/* Four rows of four words:
 *     r0  a0 a1 a2 a3         t0  a0 b0 a2 b2         r0  a0 b0 c0 d0
 *     r1  b0 b1 b2 b3   -->   t1  a1 b1 a3 b3   -->   r1  a1 b1 c1 d1
 *     r2  c0 c1 c2 c3         t2  c0 d0 c2 d2         r2  a2 b2 c2 d2
 *     r3  d0 d1 d2 d3         t3  c1 d1 c3 d3         r3  a3 b3 c3 d3
 */
static inline void transpose_words(vec r[4]) {
    uint64x2_t t0 = vreinterpretq_u64_u32(vtrn1q_u32(r[0], r[1]));
    uint64x2_t t1 = vreinterpretq_u64_u32(vtrn2q_u32(r[0], r[1]));
    uint64x2_t t2 = vreinterpretq_u64_u32(vtrn1q_u32(r[2], r[3]));
    uint64x2_t t3 = vreinterpretq_u64_u32(vtrn2q_u32(r[2], r[3]));

    r[0] = vreinterpretq_u32_u64(vtrn1q_u64(t0, t2));
    r[1] = vreinterpretq_u32_u64(vtrn1q_u64(t1, t3));
    r[2] = vreinterpretq_u32_u64(vtrn2q_u64(t0, t2));
    r[3] = vreinterpretq_u32_u64(vtrn2q_u64(t1, t3));
}

static inline void load_blocks(vec w[16], const uint8_t *const next[LANES], size_t at) {
    for (size_t k = 0; k < 16; k += 4) {
        for (size_t i = 0; i < 4; i++) {
            w[k + i] = vreinterpretq_u32_u8(vld1q_u8(next[i] + at + 4 * k));
        }
        transpose_words(w + k);
    }
}

static inline void load_short(vec w[16], const sp_slice m[LANES]) {
    _Alignas(16) uint8_t block[LANES][64];
    const uint8_t *next[LANES];

    for (size_t i = 0; i < LANES; i++) {
        sp_md5_short_block(block[i], m[i].data, m[i].size);
        next[i] = block[i];
    }
    load_blocks(w, next, 0);
}

static inline void load_tiny(vec w[16], const sp_slice m[LANES]) {
    uint32_t bits[LANES];

    for (size_t i = 0; i < LANES; i++) {
        uint64_t half[2];

        sp_md5_tiny_block(half, m[i].data, m[i].size);
        w[i] = vreinterpretq_u32_u64(vcombine_u64(vcreate_u64(half[0]), vcreate_u64(half[1])));
        bits[i] = (uint32_t)m[i].size << 3;
    }
    transpose_words(w);
    w[14] = vld1q_u32(bits);
}

static inline void store_digests(uint8_t *out, vec state[4]) {
    transpose_words(state);
    for (size_t i = 0; i < LANES; i++) {
        vst1q_u8(out + 16 * i, vreinterpretq_u8_u32(state[i]));
    }
}

#include "md5_lanes.h"

void sp_md5_many_neon(const sp_slice *messages, size_t n, uint8_t *digests) {
    hash_many(messages, n, digests);
}

#endif
