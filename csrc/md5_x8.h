/* Eight lanes of 256 bits: what AVX2 and AVX-512 do alike. Included by their kernels, which have defined TARGET.
 */
#include <immintrin.h>

#include "md5_short.h"

#define LANES 8

typedef __m256i vec;

#define HIDE(p) SP_HIDDEN(p) /* constants come by broadcasting loads, 4 bytes each */

TARGET static inline vec set1(uint32_t x) {
    return _mm256_set1_epi32((int)x);
}

TARGET static inline vec add(vec x, vec y) {
    return _mm256_add_epi32(x, y);
}

TARGET static inline vec load_vec(const uint32_t *p) {
    return _mm256_load_si256((const vec *)p);
}

TARGET static inline void store_vec(uint32_t *p, vec x) {
    _mm256_store_si256((vec *)p, x);
}

/* Four rows of four words, in each half of the vectors on its own:
 *     r0  a0 a1 a2 a3         t0  a0 b0 a1 b1         r0  a0 b0 c0 d0
 *     r1  b0 b1 b2 b3   -->   t1  a2 b2 a3 b3   -->   r1  a1 b1 c1 d1
 *     r2  c0 c1 c2 c3         t2  c0 d0 c1 d1         r2  a2 b2 c2 d2
 *     r3  d0 d1 d2 d3         t3  c2 d2 c3 d3         r3  a3 b3 c3 d3
 */
TARGET static inline void transpose_words(vec r[4]) {
    vec t0 = _mm256_unpacklo_epi32(r[0], r[1]);
    vec t1 = _mm256_unpackhi_epi32(r[0], r[1]);
    vec t2 = _mm256_unpacklo_epi32(r[2], r[3]);
    vec t3 = _mm256_unpackhi_epi32(r[2], r[3]);

    r[0] = _mm256_unpacklo_epi64(t0, t2);
    r[1] = _mm256_unpackhi_epi64(t0, t2);
    r[2] = _mm256_unpacklo_epi64(t1, t3);
    r[3] = _mm256_unpackhi_epi64(t1, t3);
}

TARGET static inline vec join(__m128i low, __m128i high) {
    return _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
}

/* Row i takes words k to k + 3 of lane i into its low and of lane 4 + i into its high half: the
 * halves are in place as they are loaded, and transposed by words row i is word k + i of all lanes.
 */
TARGET static inline void load_blocks(vec w[16], const uint8_t *const next[LANES], size_t at) {
    for (size_t k = 0; k < 16; k += 4) {
        for (size_t i = 0; i < 4; i++) {
            w[k + i] = join(_mm_loadu_si128((const __m128i *)(next[i] + at + 4 * k)),
                            _mm_loadu_si128((const __m128i *)(next[4 + i] + at + 4 * k)));
        }
        transpose_words(w + k);
    }
}

/* Short messages take their lanes in the order that makes the digests contiguous: the states of the
 * lanes, transposed by words, give vectors i = 0 to 3 with the digest of lane 4h + i in half h, so
 * that lane is given to message 2i + h. */

TARGET static inline void load_short(vec w[16], const sp_slice m[LANES]) {
    _Alignas(32) uint8_t block[LANES][64];
    const uint8_t *next[LANES];

    for (size_t i = 0; i < 4; i++) {
        for (size_t h = 0; h < 2; h++) {
            sp_md5_short_block(block[4 * h + i], m[2 * i + h].data, m[2 * i + h].size);
            next[4 * h + i] = block[4 * h + i];
        }
    }
    load_blocks(w, next, 0);
}

TARGET static inline void load_tiny(vec w[16], const sp_slice m[LANES]) {
    for (size_t i = 0; i < 4; i++) {
        uint64_t low[2], high[2];

        sp_md5_tiny_block(low, m[2 * i].data, m[2 * i].size);
        sp_md5_tiny_block(high, m[2 * i + 1].data, m[2 * i + 1].size);
        w[i] = _mm256_setr_epi64x((long long)low[0], (long long)low[1], (long long)high[0], (long long)high[1]);
    }
    transpose_words(w);
    w[14] = _mm256_slli_epi32(_mm256_setr_epi32((int)m[0].size, (int)m[2].size, (int)m[4].size, (int)m[6].size,
                                                (int)m[1].size, (int)m[3].size, (int)m[5].size, (int)m[7].size),
                              3);
}

TARGET static inline void store_digests(uint8_t *out, vec state[4]) {
    transpose_words(state);
    for (size_t i = 0; i < 4; i++) {
        _mm256_storeu_si256((vec *)(out + 32 * i), state[i]);
    }
}
