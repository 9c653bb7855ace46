/* Base64 by tables, three bytes or four characters at a time: the reference, and the ends of what others read. */
#include <string.h>

#include "base64.h"

static const uint8_t alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* What a character stands for, 1 more, so that 0 says that it is none. */
#define RUN(first, value)                                                                                              \
    [first] = (value) + 1, [first + 1] = (value) + 2, [first + 2] = (value) + 3, [first + 3] = (value) + 4,            \
    [first + 4] = (value) + 5
static const uint8_t values[256] = {
    RUN('A', 0),  RUN('F', 5),  RUN('K', 10), RUN('P', 15), RUN('U', 20), ['Z'] = 26,   RUN('a', 26), RUN('f', 31),
    RUN('k', 36), RUN('p', 41), RUN('u', 46), ['z'] = 52,   RUN('0', 52), RUN('5', 57), ['+'] = 63,   ['/'] = 64,
};
#undef RUN

void sp_base64_encode_portable(const uint8_t *in, size_t n, uint8_t *out) {
    for (; n >= 3; n -= 3, in += 3, out += 4) {
        out[0] = alphabet[in[0] >> 2];
        out[1] = alphabet[(in[0] & 3) << 4 | in[1] >> 4];
        out[2] = alphabet[(in[1] & 15) << 2 | in[2] >> 6];
        out[3] = alphabet[in[2] & 63];
    }
    if (n) {
        unsigned second = n == 2 ? in[1] : 0;

        out[0] = alphabet[in[0] >> 2];
        out[1] = alphabet[(in[0] & 3u) << 4 | second >> 4];
        out[2] = n == 2 ? alphabet[(second & 15) << 2] : '=';
        out[3] = '=';
    }
}

/* The 24 bits of four characters, or more than 24 where one of them is none. */
static uint32_t four(const uint8_t *text) {
    uint32_t a = values[text[0]], b = values[text[1]], c = values[text[2]], d = values[text[3]];

    return a && b && c && d ? (a - 1) << 18 | (b - 1) << 12 | (c - 1) << 6 | (d - 1) : UINT32_MAX;
}

size_t sp_base64_decode_portable(const uint8_t *text, size_t n, uint8_t *out) {
    const uint8_t *start = out;
    uint8_t last[4];
    size_t padding;
    uint32_t bits;

    if (n % 4) {
        return SIZE_MAX;
    }
    if (n == 0) {
        return 0;
    }
    for (; n > 4; n -= 4, text += 4, out += 3) {
        bits = four(text);
        if (bits >> 24) {
            return SIZE_MAX;
        }
        out[0] = (uint8_t)(bits >> 16);
        out[1] = (uint8_t)(bits >> 8);
        out[2] = (uint8_t)bits;
    }
    memcpy(last, text, 4);
    padding = last[3] != '=' ? 0 : last[2] != '=' ? 1 : 2;
    memset(last + 4 - padding, 'A', padding);
    bits = four(last);
    if (bits >> 24) {
        return SIZE_MAX;
    }
    out[0] = (uint8_t)(bits >> 16);
    if (padding < 2) {
        out[1] = (uint8_t)(bits >> 8);
    }
    if (padding < 1) {
        out[2] = (uint8_t)bits;
    }
    return (size_t)(out - start) + 3 - padding;
}
