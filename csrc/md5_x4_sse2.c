/* MD5 of 8 messages at once: two vectors of 4 lanes, SSE2.
 *
 * There is neither a rotation nor ternary logic, so each f is written for few operations, and few
 * of them after b:
 *     F = d ^ (b & (c ^ d))
 *     G = (~d & c) + (d & b)        the terms share no bit, so + is |, and the first is added early
 *     H = b ^ (c ^ d)
 *     I = c ^ (b | ~d) = ~(c ^ (~b & d)) = -1 - (c ^ (~b & d))         saves the complement of d
 */
#if defined(__x86_64__)

#include <emmintrin.h>

#include "md5_short.h"

#define TARGET SP_TARGET("sse2")
#define LANES 4
#define FEW 1
#define WITHOUT_TINY
#define NARROWER(what) sp_md5_##what##_portable

typedef __m128i vec;

#define READY(x) SP_COMPUTED("x", x)
#define HIDE(p) (void)0 /* no broadcasting load: let constants be whole vectors in memory */

TARGET static inline vec set1(uint32_t x) {
    return _mm_set1_epi32((int)x);
}

TARGET static inline vec add(vec x, vec y) {
    return _mm_add_epi32(x, y);
}

#define ROTL(x, s) rotl(x, s, 32 - (s))

TARGET static inline vec rotl(vec x, int left, int right) {
    return _mm_or_si128(_mm_slli_epi32(x, left), _mm_srli_epi32(x, right));
}

TARGET static inline vec add_F(vec x, vec b, vec c, vec d) {
    return add(x, _mm_xor_si128(d, _mm_and_si128(b, _mm_xor_si128(c, d))));
}

TARGET static inline vec add_G(vec x, vec b, vec c, vec d) {
    x = add(x, _mm_andnot_si128(d, c));
    READY(x);
    return add(x, _mm_and_si128(d, b));
}

TARGET static inline vec add_H(vec x, vec b, vec c, vec d) {
    return add(x, _mm_xor_si128(b, _mm_xor_si128(c, d)));
}

TARGET static inline vec add_I(vec x, vec b, vec c, vec d) {
    x = add(x, set1(0xffffffffu));
    return _mm_sub_epi32(x, _mm_xor_si128(c, _mm_andnot_si128(b, d)));
}

TARGET static inline vec load_vec(const uint32_t *p) {
    return _mm_load_si128((const vec *)p);
}

TARGET static inline void store_vec(uint32_t *p, vec x) {
    _mm_store_si128((vec *)p, x);
}

/* Four rows of four words:
 *     r0  a0 a1 a2 a3         t0  a0 b0 a1 b1         r0  a0 b0 c0 d0
 *     r1  b0 b1 b2 b3   -->   t1  a2 b2 a3 b3   -->   r1  a1 b1 c1 d1
 *     r2  c0 c1 c2 c3         t2  c0 d0 c1 d1         r2  a2 b2 c2 d2
 *     r3  d0 d1 d2 d3         t3  c2 d2 c3 d3         r3  a3 b3 c3 d3
 */
TARGET static inline void transpose_words(vec r[4]) {
    vec t0 = _mm_unpacklo_epi32(r[0], r[1]);
    vec t1 = _mm_unpackhi_epi32(r[0], r[1]);
    vec t2 = _mm_unpacklo_epi32(r[2], r[3]);
    vec t3 = _mm_unpackhi_epi32(r[2], r[3]);

    r[0] = _mm_unpacklo_epi64(t0, t2);
    r[1] = _mm_unpackhi_epi64(t0, t2);
    r[2] = _mm_unpacklo_epi64(t1, t3);
    r[3] = _mm_unpackhi_epi64(t1, t3);
}

TARGET static inline void load_blocks(vec w[16], const uint8_t *const next[LANES], size_t at) {
    for (size_t k = 0; k < 16; k += 4) {
        for (size_t i = 0; i < 4; i++) {
            w[k + i] = _mm_loadu_si128((const vec *)(next[i] + at + 4 * k));
        }
        transpose_words(w + k);
    }
}

TARGET static inline void load_short(vec w[16], const sp_slice m[LANES]) {
    _Alignas(16) uint8_t block[LANES][64];
    const uint8_t *next[LANES];

    for (size_t i = 0; i < LANES; i++) {
        sp_md5_short_block(block[i], m[i].data, m[i].size);
        next[i] = block[i];
    }
    load_blocks(w, next, 0);
}

TARGET static inline void store_digests(uint8_t *out, vec state[4]) {
    transpose_words(state);
    for (size_t i = 0; i < LANES; i++) {
        _mm_storeu_si128((vec *)(out + 16 * i), state[i]);
    }
}

#include "md5_lanes.h"

TARGET void sp_md5_compress_sse2(uint32_t *rows, size_t stride, const uint8_t *const *next, size_t blocks,
                                 size_t live) {
    compress_live(rows, stride, next, blocks, live);
}

TARGET void sp_md5_many_sse2(const sp_slice *messages, size_t n, uint8_t *digests) {
    hash_many(messages, n, digests);
}

#endif
