/* What every MD5 kernel shares of RFC 1321: the 64 steps, the initial state, and the padding.
 *
 * A step is  a = b + rotl(a + f(b, c, d) + w[k] + t, s),  with w[16] the little-endian
 * words of the block, t = floor(2^32 |sin(step)|), steps counted from 1, and f one of
 *     F = b ? c : d      G = d ? b : c      H = b ^ c ^ d      I = c ^ (b | ~d)
 * taken bit by bit. A kernel defines S(f, a, b, c, d, step, k, s, t) and expands the table; the
 * names a b c d turn with every step, so no value is ever moved.
 */
#ifndef SP_MD5_ROUNDS_H
#define SP_MD5_ROUNDS_H

#include <string.h>

#include "md5.h"

/* clang-format off */
#define SP_MD5_STEPS(S) \
    S(F, a, b, c, d,  0,  0,  7, 0xd76aa478u) S(F, d, a, b, c,  1,  1, 12, 0xe8c7b756u) \
    S(F, c, d, a, b,  2,  2, 17, 0x242070dbu) S(F, b, c, d, a,  3,  3, 22, 0xc1bdceeeu) \
    S(F, a, b, c, d,  4,  4,  7, 0xf57c0fafu) S(F, d, a, b, c,  5,  5, 12, 0x4787c62au) \
    S(F, c, d, a, b,  6,  6, 17, 0xa8304613u) S(F, b, c, d, a,  7,  7, 22, 0xfd469501u) \
    S(F, a, b, c, d,  8,  8,  7, 0x698098d8u) S(F, d, a, b, c,  9,  9, 12, 0x8b44f7afu) \
    S(F, c, d, a, b, 10, 10, 17, 0xffff5bb1u) S(F, b, c, d, a, 11, 11, 22, 0x895cd7beu) \
    S(F, a, b, c, d, 12, 12,  7, 0x6b901122u) S(F, d, a, b, c, 13, 13, 12, 0xfd987193u) \
    S(F, c, d, a, b, 14, 14, 17, 0xa679438eu) S(F, b, c, d, a, 15, 15, 22, 0x49b40821u) \
    S(G, a, b, c, d, 16,  1,  5, 0xf61e2562u) S(G, d, a, b, c, 17,  6,  9, 0xc040b340u) \
    S(G, c, d, a, b, 18, 11, 14, 0x265e5a51u) S(G, b, c, d, a, 19,  0, 20, 0xe9b6c7aau) \
    S(G, a, b, c, d, 20,  5,  5, 0xd62f105du) S(G, d, a, b, c, 21, 10,  9, 0x02441453u) \
    S(G, c, d, a, b, 22, 15, 14, 0xd8a1e681u) S(G, b, c, d, a, 23,  4, 20, 0xe7d3fbc8u) \
    S(G, a, b, c, d, 24,  9,  5, 0x21e1cde6u) S(G, d, a, b, c, 25, 14,  9, 0xc33707d6u) \
    S(G, c, d, a, b, 26,  3, 14, 0xf4d50d87u) S(G, b, c, d, a, 27,  8, 20, 0x455a14edu) \
    S(G, a, b, c, d, 28, 13,  5, 0xa9e3e905u) S(G, d, a, b, c, 29,  2,  9, 0xfcefa3f8u) \
    S(G, c, d, a, b, 30,  7, 14, 0x676f02d9u) S(G, b, c, d, a, 31, 12, 20, 0x8d2a4c8au) \
    S(H, a, b, c, d, 32,  5,  4, 0xfffa3942u) S(H, d, a, b, c, 33,  8, 11, 0x8771f681u) \
    S(H, c, d, a, b, 34, 11, 16, 0x6d9d6122u) S(H, b, c, d, a, 35, 14, 23, 0xfde5380cu) \
    S(H, a, b, c, d, 36,  1,  4, 0xa4beea44u) S(H, d, a, b, c, 37,  4, 11, 0x4bdecfa9u) \
    S(H, c, d, a, b, 38,  7, 16, 0xf6bb4b60u) S(H, b, c, d, a, 39, 10, 23, 0xbebfbc70u) \
    S(H, a, b, c, d, 40, 13,  4, 0x289b7ec6u) S(H, d, a, b, c, 41,  0, 11, 0xeaa127fau) \
    S(H, c, d, a, b, 42,  3, 16, 0xd4ef3085u) S(H, b, c, d, a, 43,  6, 23, 0x04881d05u) \
    S(H, a, b, c, d, 44,  9,  4, 0xd9d4d039u) S(H, d, a, b, c, 45, 12, 11, 0xe6db99e5u) \
    S(H, c, d, a, b, 46, 15, 16, 0x1fa27cf8u) S(H, b, c, d, a, 47,  2, 23, 0xc4ac5665u) \
    S(I, a, b, c, d, 48,  0,  6, 0xf4292244u) S(I, d, a, b, c, 49,  7, 10, 0x432aff97u) \
    S(I, c, d, a, b, 50, 14, 15, 0xab9423a7u) S(I, b, c, d, a, 51,  5, 21, 0xfc93a039u) \
    S(I, a, b, c, d, 52, 12,  6, 0x655b59c3u) S(I, d, a, b, c, 53,  3, 10, 0x8f0ccc92u) \
    S(I, c, d, a, b, 54, 10, 15, 0xffeff47du) S(I, b, c, d, a, 55,  1, 21, 0x85845dd1u) \
    S(I, a, b, c, d, 56,  8,  6, 0x6fa87e4fu) S(I, d, a, b, c, 57, 15, 10, 0xfe2ce6e0u) \
    S(I, c, d, a, b, 58,  6, 15, 0xa3014314u) S(I, b, c, d, a, 59, 13, 21, 0x4e0811a1u) \
    S(I, a, b, c, d, 60,  4,  6, 0xf7537e82u) S(I, d, a, b, c, 61, 11, 10, 0xbd3af235u) \
    S(I, c, d, a, b, 62,  2, 15, 0x2ad7d2bbu) S(I, b, c, d, a, 63,  9, 21, 0xeb86d391u)
/* clang-format on */

enum {
    SP_MD5_SIZE_AT = SP_MD5_BLOCK_SIZE - 8, /* the last block ends with the size in bits */
    SP_MD5_SHORT_MAX = SP_MD5_SIZE_AT - 1,  /* longest message whose padding fits its only block */
};

static const uint32_t sp_md5_initial[4] = {0x67452301u, 0xefcdab89u, 0x98badcfeu, 0x10325476u};

/* Write the padded end of a message: its last size % 64 bytes, which lie at `rest`, then 0x80,
 * zeros and the size in bits. Return the number of blocks, 1 or 2. */
static inline size_t sp_md5_pad(uint8_t end[2 * SP_MD5_BLOCK_SIZE], const uint8_t *rest, size_t size) {
    size_t used = size % SP_MD5_BLOCK_SIZE;
    size_t blocks = used <= SP_MD5_SHORT_MAX ? 1 : 2;
    uint8_t *bits = end + blocks * SP_MD5_BLOCK_SIZE - 8;

    memset(end, 0, 2 * SP_MD5_BLOCK_SIZE);
    if (used) {
        memcpy(end, rest, used);
    }
    end[used] = 0x80;
    for (int i = 0; i < 8; i++) {
        bits[i] = (uint8_t)((uint64_t)size << 3 >> 8 * i);
    }
    return blocks;
}

/* Fold `blocks` whole blocks of each of `live` messages into their states. States lie in four rows,
 * of a to d, one column a message; rows are `stride` words apart and aligned to the kernel's
 * vector. All of a vector's columns may be written, and all their `next` must be readable, live or
 * not. */
typedef void sp_md5_compress_fn(uint32_t *rows, size_t stride, const uint8_t *const *next, size_t blocks, size_t live);

sp_md5_compress_fn sp_md5_compress_portable;
sp_md5_compress_fn sp_md5_compress_sse2;     /* up to 8 messages */
sp_md5_compress_fn sp_md5_compress_avx2;     /* up to 16 messages */
sp_md5_compress_fn sp_md5_compress_avx512vl; /* up to 16 messages */

#endif
