/* Heads of CBOR items (RFC 8949, section 3): three bits of type, then a number in as few bytes as it takes.
 *
 *     0..23 in the byte itself | 24: one byte | 25: two | 26: four | 27: eight, big-endian | 31: no number, a break
 * ends it
 */
#ifndef SP_CBOR_H
#define SP_CBOR_H

#include <stddef.h>
#include <stdint.h>

enum sp_cbor_type {
    SP_CBOR_UNSIGNED,
    SP_CBOR_NEGATIVE,
    SP_CBOR_BYTES,
    SP_CBOR_TEXT,
    SP_CBOR_ARRAY,
    SP_CBOR_MAP,
    SP_CBOR_TAG,
    SP_CBOR_SIMPLE,
};

enum { SP_CBOR_BREAK = 0xff };

static inline size_t sp_cbor_head_size(uint64_t number) {
    return number < 24 ? 1 : number <= UINT8_MAX ? 2 : number <= UINT16_MAX ? 3 : number <= UINT32_MAX ? 5 : 9;
}

/* Write a head; returns its end. */
static inline uint8_t *sp_cbor_put_head(uint8_t *out, enum sp_cbor_type type, uint64_t number) {
    size_t rest = sp_cbor_head_size(number) - 1;
    uint8_t short_form = rest == 0 ? (uint8_t)number : rest == 1 ? 24 : rest == 2 ? 25 : rest == 4 ? 26 : 27;

    *out++ = (uint8_t)(type << 5 | short_form);
    for (size_t i = rest; i-- > 0;) {
        *out++ = (uint8_t)(number >> 8 * i);
    }
    return out;
}

#endif
