/* MD5 of 32 messages at once: two vectors of 16 lanes, AVX-512.
 *
 * Ternary logic makes each of F, G, H and I one instruction and vprold each rotation, so a step is
 * six instructions, of which four follow one another: f, add, rotate, add.
 *
 * Loads are masked by bytes and so never touch what lies behind a message. Eight messages and fewer
 * are left to 256 bits.
 */
#if defined(__x86_64__)

#include <immintrin.h>

#include "md5_rounds.h"

#define TARGET SP_TARGET("avx512f,avx512bw,avx512vl,bmi2")
#define LANES 16
#define FEW 8
#define NARROWER(what) sp_md5_##what##_avx512vl

typedef __m512i vec;

#define READY(x) SP_COMPUTED("v", x)
#define HIDE(p) SP_HIDDEN(p)

TARGET static inline vec set1(uint32_t x) {
    return _mm512_set1_epi32((int)x);
}

TARGET static inline vec add(vec x, vec y) {
    return _mm512_add_epi32(x, y);
}

#define ROTL(x, s) _mm512_rol_epi32(x, s)

/* The last argument is the table of f: bit 4b + 2c + d. */
#define add_F(x, b, c, d) add(x, _mm512_ternarylogic_epi32(b, c, d, 0xca))
#define add_G(x, b, c, d) add(x, _mm512_ternarylogic_epi32(b, c, d, 0xe4))
#define add_H(x, b, c, d) add(x, _mm512_ternarylogic_epi32(b, c, d, 0x96))
#define add_I(x, b, c, d) add(x, _mm512_ternarylogic_epi32(b, c, d, 0x39))

TARGET static inline vec load_vec(const uint32_t *p) {
    return _mm512_load_si512(p);
}

TARGET static inline void store_vec(uint32_t *p, vec x) {
    _mm512_store_si512(p, x);
}

/* Four rows of four words, in each quarter of the vectors on its own:
 *     r0  a0 a1 a2 a3         t0  a0 b0 a1 b1         r0  a0 b0 c0 d0
 *     r1  b0 b1 b2 b3   -->   t1  a2 b2 a3 b3   -->   r1  a1 b1 c1 d1
 *     r2  c0 c1 c2 c3         t2  c0 d0 c1 d1         r2  a2 b2 c2 d2
 *     r3  d0 d1 d2 d3         t3  c2 d2 c3 d3         r3  a3 b3 c3 d3
 */
TARGET static inline void transpose_words(vec r[4]) {
    vec t0 = _mm512_unpacklo_epi32(r[0], r[1]);
    vec t1 = _mm512_unpackhi_epi32(r[0], r[1]);
    vec t2 = _mm512_unpacklo_epi32(r[2], r[3]);
    vec t3 = _mm512_unpackhi_epi32(r[2], r[3]);

    r[0] = _mm512_unpacklo_epi64(t0, t2);
    r[1] = _mm512_unpackhi_epi64(t0, t2);
    r[2] = _mm512_unpacklo_epi64(t1, t3);
    r[3] = _mm512_unpackhi_epi64(t1, t3);
}

/* The same for the quarters of four vectors: quarter i of *r_j goes to quarter j of *r_i. */
TARGET static inline void transpose_quarters(vec *r0, vec *r1, vec *r2, vec *r3) {
    vec t0 = _mm512_shuffle_i32x4(*r0, *r1, 0x44); /* a0 a1 b0 b1 */
    vec t1 = _mm512_shuffle_i32x4(*r0, *r1, 0xee); /* a2 a3 b2 b3 */
    vec t2 = _mm512_shuffle_i32x4(*r2, *r3, 0x44); /* c0 c1 d0 d1 */
    vec t3 = _mm512_shuffle_i32x4(*r2, *r3, 0xee); /* c2 c3 d2 d3 */

    *r0 = _mm512_shuffle_i32x4(t0, t2, 0x88);
    *r1 = _mm512_shuffle_i32x4(t0, t2, 0xdd);
    *r2 = _mm512_shuffle_i32x4(t1, t3, 0x88);
    *r3 = _mm512_shuffle_i32x4(t1, t3, 0xdd);
}

/* 16 blocks, one a row, become the 16 words of the lanes: words in every quarter of four rows,
 * which leaves words j, 4 + j, 8 + j, 12 + j of four messages in the quarters of row j; then the
 * quarters. */
TARGET static inline void transpose(vec w[16]) {
    transpose_words(w);
    transpose_words(w + 4);
    transpose_words(w + 8);
    transpose_words(w + 12);
    transpose_quarters(w + 0, w + 4, w + 8, w + 12);
    transpose_quarters(w + 1, w + 5, w + 9, w + 13);
    transpose_quarters(w + 2, w + 6, w + 10, w + 14);
    transpose_quarters(w + 3, w + 7, w + 11, w + 15);
}

TARGET static inline void load_blocks(vec w[16], const uint8_t *const next[LANES], size_t at) {
    for (size_t i = 0; i < LANES; i++) {
        w[i] = _mm512_loadu_si512(next[i] + at);
    }
    transpose(w);
}

/* Short messages take their lanes in the order that makes the digests contiguous: the states of the
 * lanes, transposed by words, give vectors i = 0 to 3 with the digest of lane 4q + i in quarter q,
 * so that lane is given to message 4i + q. */

_Static_assert(sizeof(sp_slice) == 16 && sizeof(size_t) == 8, "a slice is a quarter of a vector");

/* The sizes in bits, in that order: four vectors of four slices {data, size}, by words. */
TARGET static inline vec load_bits(const sp_slice m[LANES]) {
    vec s[4];

    for (size_t i = 0; i < 4; i++) {
        s[i] = _mm512_loadu_si512(m + 4 * i);
    }
    transpose_words(s);
    return _mm512_slli_epi32(s[2], 3);
}

TARGET static inline void load_short(vec w[16], const sp_slice m[LANES]) {
    for (size_t i = 0; i < 4; i++) {
        for (size_t q = 0; q < 4; q++) {
            const sp_slice *s = m + 4 * i + q;
            __mmask64 inside = _cvtu64_mask64(((uint64_t)1 << s->size) - 1);
            __mmask64 after = _cvtu64_mask64((uint64_t)1 << s->size);
            vec row = _mm512_maskz_loadu_epi8(inside, s->data);

            w[4 * q + i] = _mm512_mask_mov_epi8(row, after, _mm512_set1_epi8((char)0x80));
        }
    }
    transpose(w);
    w[14] = load_bits(m);
    w[15] = set1(0);
}

TARGET static inline void load_tiny(vec w[16], const sp_slice m[LANES]) {
    for (size_t i = 0; i < 4; i++) {
        const sp_slice *s = m + 4 * i;
        __m128i row[4];
        uint64_t after = 0;

        for (size_t q = 0; q < 4; q++) {
            __mmask16 inside = (__mmask16)((1u << s[q].size) - 1);

            row[q] = _mm_maskz_loadu_epi8(inside, s[q].data);
            after |= (uint64_t)1 << (s[q].size + 16 * q);
        }
        w[i] = _mm512_castsi128_si512(row[0]);
        w[i] = _mm512_inserti32x4(w[i], row[1], 1);
        w[i] = _mm512_inserti32x4(w[i], row[2], 2);
        w[i] = _mm512_inserti32x4(w[i], row[3], 3);
        w[i] = _mm512_mask_mov_epi8(w[i], _cvtu64_mask64(after), _mm512_set1_epi8((char)0x80));
    }
    transpose_words(w);
    w[14] = load_bits(m);
}

TARGET static inline void store_digests(uint8_t *out, vec state[4]) {
    transpose_words(state);
    for (size_t i = 0; i < 4; i++) {
        _mm512_storeu_si512(out + 64 * i, state[i]);
    }
}

#include "md5_lanes.h"

TARGET void sp_md5_many_avx512(const sp_slice *messages, size_t n, uint8_t *digests) {
    hash_many(messages, n, digests);
}

#endif
