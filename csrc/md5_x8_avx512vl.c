/* MD5 of 16 messages at once: two vectors of 8 lanes, AVX-512's instructions on AVX2's registers.
 *
 * What md5_x16_avx512.c gives eight messages and fewer to: no vector is half empty, and a rotation and every f are one
 * instruction, which AVX2 takes three and up to four for, one after the other.
 */
#if defined(__x86_64__)

#define TARGET SP_TARGET("avx512f,avx512bw,avx512vl,bmi2")
#define FEW 1
#define WITHOUT_TINY
#define NARROWER(what) sp_md5_##what##_avx2
#define READY(x) SP_COMPUTED("v", x)

#include "md5_x8.h"

#define ROTL(x, s) _mm256_rol_epi32(x, s)

/* As in md5_x16_avx512.c. */
#define add_F(x, b, c, d) add(x, _mm256_ternarylogic_epi32(b, c, d, 0xca))
#define add_G(x, b, c, d) add(x, _mm256_ternarylogic_epi32(b, c, d, 0xe4))
#define add_H(x, b, c, d) add(x, _mm256_ternarylogic_epi32(b, c, d, 0x96))
#define add_I(x, b, c, d) add(x, _mm256_ternarylogic_epi32(b, c, d, 0x39))

#include "md5_lanes.h"

TARGET void sp_md5_compress_avx512vl(uint32_t *rows, size_t stride, const uint8_t *const *next, size_t blocks,
                                     size_t live) {
    compress_live(rows, stride, next, blocks, live);
}

TARGET void sp_md5_many_avx512vl(const sp_slice *messages, size_t n, uint8_t *digests) {
    hash_many(messages, n, digests);
}

#endif
