/* Base64, 48 bytes and 64 characters at a time: AVX-512 VBMI, by the way of Muła and Lemire (doi:10.1002/spe.2777).
 *
 * A permutation of bytes takes its indices modulo 64, which is the alphabet as it stands. Loads and stores are masked
 * by bytes: nothing is touched that is not there, and short texts need no other kernel.
 */
#if defined(__x86_64__)

#include <immintrin.h>

#include "base64.h"

#define TARGET SP_TARGET("avx512f,avx512bw,avx512vl,avx512vbmi")

static const uint8_t alphabet[65] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* Where the bytes a, b, c of each four characters come from: b, a, c, b. */
static const uint8_t triples[64] = {
    1,  0,  2,  1,  4,  3,  5,  4,  7,  6,  8,  7,  10, 9,  11, 10, 13, 12, 14, 13, 16, 15,
    17, 16, 19, 18, 20, 19, 22, 21, 23, 22, 25, 24, 26, 25, 28, 27, 29, 28, 31, 30, 32, 31,
    34, 33, 35, 34, 37, 36, 38, 37, 40, 39, 41, 40, 43, 42, 44, 43, 46, 45, 47, 46,
};

/* And the three bytes of each four characters back. */
static const uint8_t packed[64] = {
    2,  1,  0,  6,  5,  4,  10, 9,  8,  14, 13, 12, 18, 17, 16, 22, 21, 20, 26, 25, 24, 30, 29, 28,
    34, 33, 32, 38, 37, 36, 42, 41, 40, 46, 45, 44, 50, 49, 48, 54, 53, 52, 58, 57, 56, 62, 61, 60,
};

TARGET static inline __mmask64 first(size_t n) {
    return n >= 64 ? ~(__mmask64)0 : ((__mmask64)1 << n) - 1;
}

TARGET static inline __m512i characters_of(__m512i bytes) {
    __m512i fields = _mm512_permutexvar_epi8(_mm512_loadu_si512(triples), bytes);
    __m512i values = _mm512_multishift_epi64_epi8(_mm512_set1_epi64(0x3036242a1016040a), fields);

    return _mm512_permutexvar_epi8(values, _mm512_loadu_si512(alphabet));
}

TARGET void sp_base64_encode_avx512(const uint8_t *in, size_t n, uint8_t *out) {
    for (; n >= 64; n -= 48, in += 48, out += 64) {
        _mm512_storeu_si512(out, characters_of(_mm512_loadu_si512(in)));
    }
    while (n) {
        size_t bytes = n < 48 ? n : 48, characters = sp_base64_size(bytes);
        __m512i text = characters_of(_mm512_maskz_loadu_epi8(first(bytes), in));
        __mmask64 padding = first(characters) & ~first((bytes * 4 + 2) / 3);

        _mm512_mask_storeu_epi8(out, first(characters), _mm512_mask_blend_epi8(padding, text, _mm512_set1_epi8('=')));
        n -= bytes, in += bytes, out += characters;
    }
}

TARGET static inline __m512i bytes_of(__m512i values) {
    __m512i pairs = _mm512_maddubs_epi16(values, _mm512_set1_epi32(0x01400140));
    __m512i fours = _mm512_madd_epi16(pairs, _mm512_set1_epi32(0x00011000));

    return _mm512_permutexvar_epi8(_mm512_loadu_si512(packed), fours);
}

/* What each character below 128 stands for, or NO_VALUE. */
#define NO_VALUE 0x80
#define NONE_4 NO_VALUE, NO_VALUE, NO_VALUE, NO_VALUE
#define NONE_16 NONE_4, NONE_4, NONE_4, NONE_4
static const uint8_t values[128] = {
    NONE_16, NONE_16,  NONE_4, NONE_4, NO_VALUE, NO_VALUE, NO_VALUE, 62, NO_VALUE, NO_VALUE, NO_VALUE, 63,
    52,      53,       54,     55,     56,       57,       58,       59, 60,       61,       NO_VALUE, NO_VALUE,
    NONE_4,  NO_VALUE, 0,      1,      2,        3,        4,        5,  6,        7,        8,        9,
    10,      11,       12,     13,     14,       15,       16,       17, 18,       19,       20,       21,
    22,      23,       24,     25,     NONE_4,   NO_VALUE, NO_VALUE, 26, 27,       28,       29,       30,
    31,      32,       33,     34,     35,       36,       37,       38, 39,       40,       41,       42,
    43,      44,       45,     46,     47,       48,       49,       50, 51,       NONE_4,   NO_VALUE,
};

TARGET size_t sp_base64_decode_avx512(const uint8_t *text, size_t n, uint8_t *out) {
    __m512i lower = _mm512_loadu_si512(values), upper = _mm512_loadu_si512(values + 64);
    const uint8_t *start = out;
    size_t rest;

    if (n % 4) {
        return SIZE_MAX;
    }
    for (; n > 64; n -= 64, text += 64, out += 48) {
        __m512i characters = _mm512_loadu_si512(text);
        __m512i found = _mm512_permutex2var_epi8(lower, characters, upper);

        if (_mm512_movepi8_mask(_mm512_or_si512(found, characters))) {
            return SIZE_MAX;
        }
        _mm512_mask_storeu_epi8(out, first(48), bytes_of(found));
    }
    if (n > 4) {
        size_t there = n - 4; /* the last four may have padding */
        __m512i characters = _mm512_maskz_loadu_epi8(first(there), text);
        __m512i found = _mm512_permutex2var_epi8(lower, characters, upper);

        if (_mm512_movepi8_mask(_mm512_or_si512(found, characters)) & first(there)) {
            return SIZE_MAX;
        }
        _mm512_mask_storeu_epi8(out, first(there / 4 * 3), bytes_of(found));
        n = 4, text += there, out += there / 4 * 3;
    }
    rest = sp_base64_decode_portable(text, n, out);
    return rest == SIZE_MAX ? SIZE_MAX : (size_t)(out - start) + rest;
}

#endif
