/* Base64, 24 bytes and 32 characters at a time: AVX2, by the way of Muła and Lemire (doi:10.1145/3132709). */
#if defined(__x86_64__)

#include <immintrin.h>

#include "base64.h"

#define TARGET SP_TARGET("avx2")

typedef __m256i vec;

TARGET static inline vec both(__m128i lane) {
    return _mm256_broadcastsi128_si256(lane);
}

/* Three bytes a, b, c lie as b, a, c, b; each six of their bits go to a byte of their own, lowest first. */
TARGET static inline vec split(vec bytes) {
    vec triples = _mm256_shuffle_epi8(bytes, both(_mm_setr_epi8(1, 0, 2, 1, 4, 3, 5, 4, 7, 6, 8, 7, 10, 9, 11, 10)));
    vec first_and_third =
        _mm256_mulhi_epu16(_mm256_and_si256(triples, _mm256_set1_epi32(0x0fc0fc00)), _mm256_set1_epi32(0x04000040));
    vec second_and_fourth =
        _mm256_mullo_epi16(_mm256_and_si256(triples, _mm256_set1_epi32(0x003f03f0)), _mm256_set1_epi32(0x01000010));

    return _mm256_or_si256(first_and_third, second_and_fourth);
}

/* The character of a value is so much more: 65 of A to Z, 71 of a to z, and a place each for 0 to 9, + and /. */
TARGET static inline vec to_characters(vec values) {
    vec offsets = both(_mm_setr_epi8(65, 71, -4, -4, -4, -4, -4, -4, -4, -4, -4, -4, -19, -16, 0, 0));
    vec places = _mm256_subs_epu8(values, _mm256_set1_epi8(51));

    places = _mm256_sub_epi8(places, _mm256_cmpgt_epi8(values, _mm256_set1_epi8(25)));
    return _mm256_add_epi8(values, _mm256_shuffle_epi8(offsets, places));
}

TARGET void sp_base64_encode_avx2(const uint8_t *in, size_t n, uint8_t *out) {
    for (; n >= 28; n -= 24, in += 24, out += 32) { /* two loads of 16, 12 of which are used */
        vec bytes = _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)in)),
                                            _mm_loadu_si128((const __m128i *)(in + 12)), 1);

        _mm256_storeu_si256((vec *)out, to_characters(split(bytes)));
    }
    sp_base64_encode_portable(in, n, out);
}

TARGET size_t sp_base64_decode_avx2(const uint8_t *text, size_t n, uint8_t *out) {
    /* A character is one where the classes of its two nibbles have no bit in common. */
    vec low_classes = both(
        _mm_setr_epi8(0x15, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x13, 0x1a, 0x1b, 0x1b, 0x1b, 0x1a));
    vec high_classes = both(
        _mm_setr_epi8(0x10, 0x10, 0x01, 0x02, 0x04, 0x08, 0x04, 0x08, 0x10, 0x10, 0x10, 0x10, 0x10, 0x10, 0x10, 0x10));
    vec offsets = both(_mm_setr_epi8(0, 16, 19, 4, -65, -65, -71, -71, 0, 0, 0, 0, 0, 0, 0, 0));
    vec nibble_or_slash = _mm256_set1_epi8(0x2f);
    const uint8_t *start = out;
    size_t rest;

    if (n % 4) {
        return SIZE_MAX;
    }
    for (; n >= 44; n -= 32, text += 32, out += 24) { /* a store of 32, for which there is room */
        vec characters = _mm256_loadu_si256((const vec *)text);
        vec high = _mm256_and_si256(_mm256_srli_epi32(characters, 4), nibble_or_slash);
        vec low = _mm256_and_si256(characters, nibble_or_slash);
        vec slash = _mm256_cmpeq_epi8(characters, nibble_or_slash);

        if (!_mm256_testz_si256(_mm256_shuffle_epi8(low_classes, low), _mm256_shuffle_epi8(high_classes, high))) {
            return SIZE_MAX;
        }
        vec values = _mm256_add_epi8(characters, _mm256_shuffle_epi8(offsets, _mm256_add_epi8(slash, high)));
        vec pairs = _mm256_maddubs_epi16(values, _mm256_set1_epi32(0x01400140));
        vec fours = _mm256_madd_epi16(pairs, _mm256_set1_epi32(0x00011000));
        vec bytes =
            _mm256_shuffle_epi8(fours, both(_mm_setr_epi8(2, 1, 0, 6, 5, 4, 10, 9, 8, 14, 13, 12, -1, -1, -1, -1)));

        _mm256_storeu_si256((vec *)out, _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 1, 2, 4, 5, 6, 7, 7)));
    }
    rest = sp_base64_decode_portable(text, n, out);
    return rest == SIZE_MAX ? SIZE_MAX : (size_t)(out - start) + rest;
}

#endif
