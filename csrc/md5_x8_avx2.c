/* MD5 of 16 messages at once: two vectors of 8 lanes, AVX2.
 *
 * There is neither a rotation nor ternary logic, so each f is written for few operations, and few
 * of them after b:
 *     F = d ^ (b & (c ^ d))
 *     G = (~d & c) + (d & b)        the terms share no bit, so + is |, and the first is added early
 *     H = b ^ (c ^ d)
 *     I = c ^ (b | ~d) = ~(c ^ (~b & d)) = -1 - (c ^ (~b & d))         saves the complement of d
 */
#if defined(__x86_64__)

#define TARGET SP_TARGET("avx2")
#define FEW 4
#define NARROWER(what) sp_md5_##what##_sse2
#define READY(x) SP_COMPUTED("x", x)

#include "md5_x8.h"

#define ROTL(x, s) rotl(x, s, 32 - (s))

TARGET static inline vec rotl(vec x, int left, int right) {
    return _mm256_or_si256(_mm256_slli_epi32(x, left), _mm256_srli_epi32(x, right));
}

TARGET static inline vec add_F(vec x, vec b, vec c, vec d) {
    return add(x, _mm256_xor_si256(d, _mm256_and_si256(b, _mm256_xor_si256(c, d))));
}

TARGET static inline vec add_G(vec x, vec b, vec c, vec d) {
    x = add(x, _mm256_andnot_si256(d, c));
    READY(x);
    return add(x, _mm256_and_si256(d, b));
}

TARGET static inline vec add_H(vec x, vec b, vec c, vec d) {
    return add(x, _mm256_xor_si256(b, _mm256_xor_si256(c, d)));
}

TARGET static inline vec add_I(vec x, vec b, vec c, vec d) {
    x = add(x, set1(0xffffffffu));
    return _mm256_sub_epi32(x, _mm256_xor_si256(c, _mm256_andnot_si256(b, d)));
}

#include "md5_lanes.h"

TARGET void sp_md5_compress_avx2(uint32_t *rows, size_t stride, const uint8_t *const *next, size_t blocks,
                                 size_t live) {
    compress_live(rows, stride, next, blocks, live);
}

TARGET void sp_md5_many_avx2(const sp_slice *messages, size_t n, uint8_t *digests) {
    hash_many(messages, n, digests);
}

#endif
