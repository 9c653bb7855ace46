/* Base64, 48 bytes and 64 characters at a time: NEON, whose loads take every third byte or fourth character apart. */
#if defined(__aarch64__) && !defined(__ARM_BIG_ENDIAN)

#include <arm_neon.h>

#include "base64.h"

static const uint8_t alphabet[65] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

typedef uint8x16_t vec;

static inline uint8x16x4_t table(const uint8_t *bytes) {
    return (uint8x16x4_t){{vld1q_u8(bytes), vld1q_u8(bytes + 16), vld1q_u8(bytes + 32), vld1q_u8(bytes + 48)}};
}

void sp_base64_encode_neon(const uint8_t *in, size_t n, uint8_t *out) {
    uint8x16x4_t characters = table(alphabet);
    vec six_bits = vdupq_n_u8(0x3f);

    for (; n >= 48; n -= 48, in += 48, out += 64) {
        uint8x16x3_t bytes = vld3q_u8(in);
        vec a = bytes.val[0], b = bytes.val[1], c = bytes.val[2];
        uint8x16x4_t text = {{
            vqtbl4q_u8(characters, vshrq_n_u8(a, 2)),
            vqtbl4q_u8(characters, vandq_u8(vsliq_n_u8(vshrq_n_u8(b, 4), a, 4), six_bits)),
            vqtbl4q_u8(characters, vandq_u8(vsliq_n_u8(vshrq_n_u8(c, 6), b, 2), six_bits)),
            vqtbl4q_u8(characters, vandq_u8(c, six_bits)),
        }};

        vst4q_u8(out, text);
    }
    sp_base64_encode_portable(in, n, out);
}

/* What a character stands for, or NO_VALUE, from two tables of 64: an index beyond its table gives 0. */
#define NO_VALUE 0x80
#define NONE_4 NO_VALUE, NO_VALUE, NO_VALUE, NO_VALUE
#define NONE_16 NONE_4, NONE_4, NONE_4, NONE_4
static const uint8_t below_64[64] = {
    NONE_16, NONE_16, NONE_4, NONE_4, NO_VALUE, NO_VALUE, NO_VALUE, 62, NO_VALUE, NO_VALUE, NO_VALUE, 63,     52,
    53,      54,      55,     56,     57,       58,       59,       60, 61,       NO_VALUE, NO_VALUE, NONE_4,
};
static const uint8_t from_64[64] = {
    NO_VALUE, 0,  1,  2,  3,  4,  5,  6,      7,        8,        9,  10, 11, 12, 13, 14, 15,     16,       17, 18,
    19,       20, 21, 22, 23, 24, 25, NONE_4, NO_VALUE, NO_VALUE, 26, 27, 28, 29, 30, 31, 32,     33,       34, 35,
    36,       37, 38, 39, 40, 41, 42, 43,     44,       45,       46, 47, 48, 49, 50, 51, NONE_4, NO_VALUE,
};

static inline vec values_of(uint8x16x4_t low, uint8x16x4_t high, vec text, vec *wrong) {
    vec value = vorrq_u8(vqtbl4q_u8(low, text), vqtbl4q_u8(high, veorq_u8(text, vdupq_n_u8(64))));

    *wrong = vorrq_u8(*wrong, vorrq_u8(value, text)); /* the top bit: no ASCII, or no character of the alphabet */
    return value;
}

size_t sp_base64_decode_neon(const uint8_t *text, size_t n, uint8_t *out) {
    uint8x16x4_t low = table(below_64), high = table(from_64);
    const uint8_t *start = out;
    size_t rest;

    if (n % 4) {
        return SIZE_MAX;
    }
    for (; n > 64; n -= 64, text += 64, out += 48) {
        uint8x16x4_t characters = vld4q_u8(text);
        vec wrong = vdupq_n_u8(0);
        vec a = values_of(low, high, characters.val[0], &wrong), b = values_of(low, high, characters.val[1], &wrong);
        vec c = values_of(low, high, characters.val[2], &wrong), d = values_of(low, high, characters.val[3], &wrong);
        uint8x16x3_t bytes = {{
            vsliq_n_u8(vshrq_n_u8(b, 4), a, 2),
            vsliq_n_u8(vshrq_n_u8(c, 2), b, 4),
            vsliq_n_u8(d, c, 6),
        }};

        if (vmaxvq_u8(wrong) >= NO_VALUE) {
            return SIZE_MAX;
        }
        vst3q_u8(out, bytes);
    }
    rest = sp_base64_decode_portable(text, n, out);
    return rest == SIZE_MAX ? SIZE_MAX : (size_t)(out - start) + rest;
}

#endif
