/* MD5 without vectors: any processor, any byte order. The reference for every other kernel, and
 * what they call for a message that is alone.
 *
 * A step waits for the b of the step before it, so the way from b to the next b is the cost. F, G
 * and H are written so that only one or two operations of it depend on b:
 *     F = d ^ (b & (c ^ d))             c ^ d is ready
 *     G = (d & b) + (~d & c)            they share no bit, so + is |; ~d & c is added early
 *     H = b ^ (c ^ d)                   c ^ d is ready
 *     I = c ^ (b | ~d)                  ~d is ready
 */
#include "md5_rounds.h"

static inline uint32_t load32(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline void store32(uint8_t *p, uint32_t x) {
    p[0] = (uint8_t)x;
    p[1] = (uint8_t)(x >> 8);
    p[2] = (uint8_t)(x >> 16);
    p[3] = (uint8_t)(x >> 24);
}

static inline uint32_t rotl(uint32_t x, int s) {
    return x << s | x >> (32 - s);
}

/* x + f(b, c, d) */
static inline uint32_t add_F(uint32_t x, uint32_t b, uint32_t c, uint32_t d) {
    return x + (d ^ (b & (c ^ d)));
}

static inline uint32_t add_G(uint32_t x, uint32_t b, uint32_t c, uint32_t d) {
    return x + (~d & c) + (d & b);
}

static inline uint32_t add_H(uint32_t x, uint32_t b, uint32_t c, uint32_t d) {
    return x + (b ^ (c ^ d));
}

static inline uint32_t add_I(uint32_t x, uint32_t b, uint32_t c, uint32_t d) {
    return x + (c ^ (b | ~d));
}

#define STEP(f, a, b, c, d, step, k, s, t) a = b + rotl(add_##f(a + load32(p + 4 * k) + t, b, c, d), s);

static void compress(uint32_t state[4], const uint8_t *next, size_t blocks) {
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
    const uint8_t *p = next;

    for (size_t i = 0; i < blocks; i++, p += SP_MD5_BLOCK_SIZE) {
        uint32_t a0 = a, b0 = b, c0 = c, d0 = d;

        SP_MD5_STEPS(STEP)
        a += a0;
        b += b0;
        c += c0;
        d += d0;
    }
    state[0] = a;
    state[1] = b;
    state[2] = c;
    state[3] = d;
}

void sp_md5_compress_portable(uint32_t *rows, size_t stride, const uint8_t *const *next, size_t blocks, size_t live) {
    for (size_t i = 0; i < live; i++) {
        uint32_t state[4];

        for (size_t j = 0; j < 4; j++) {
            state[j] = rows[j * stride + i];
        }
        compress(state, next[i], blocks);
        for (size_t j = 0; j < 4; j++) {
            rows[j * stride + i] = state[j];
        }
    }
}

void sp_md5_many_portable(const sp_slice *messages, size_t n, uint8_t *digests) {
    for (size_t i = 0; i < n; i++) {
        sp_slice m = messages[i];
        size_t whole = m.size / SP_MD5_BLOCK_SIZE;
        uint32_t state[4];
        uint8_t end[2 * SP_MD5_BLOCK_SIZE];

        memcpy(state, sp_md5_initial, sizeof state);
        if (whole) {
            compress(state, m.data, whole);
            m.data += whole * SP_MD5_BLOCK_SIZE;
        }
        compress(state, end, sp_md5_pad(end, m.data, m.size));
        for (size_t j = 0; j < 4; j++) {
            store32(digests + SP_MD5_DIGEST_SIZE * i + 4 * j, state[j]);
        }
    }
}
