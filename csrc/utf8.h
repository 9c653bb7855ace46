/* UTF-8 as Unicode defines it (chapter 3, table 3-7): no overlong forms, no surrogates, nothing above U+10FFFF. */
#ifndef SP_UTF8_H
#define SP_UTF8_H

#include <string.h>

#include "slice.h"

static inline int sp_is_continuation(uint8_t byte) {
    return (byte & 0xc0) == 0x80;
}

/* The bytes of the character that `p` starts with, or 0 where that is none. */
static inline size_t sp_utf8_character(const uint8_t *p, const uint8_t *end) {
    size_t room = (size_t)(end - p);
    uint8_t lead = p[0];
    if (lead < 0x80) return 1;
    if (lead < 0xc2 || lead > 0xf4) return 0;
    if (room < 2) return 0;
    uint8_t low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    uint8_t high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    if (p[1] < low || p[1] > high) return 0;
    if (lead < 0xe0) return 2;
    if (room < 3 || !sp_is_continuation(p[2])) return 0;
    if (lead < 0xf0) return 3;
    return room < 4 || !sp_is_continuation(p[3]) ? 0 : 4;
}

static inline int sp_is_utf8(sp_slice text) {
    const uint8_t *p = text.data, *end = text.data + text.size;
    while (p != end) {
        uint64_t eight;
        if (end - p >= 8 && (memcpy(&eight, p, 8), !(eight & 0x8080808080808080))) {
            p += 8;
            continue;
        }
        size_t size = sp_utf8_character(p, end);
        if (size == 0) return 0;
        p += size;
    }
    return 1;
}

enum { SP_UTF8_ESCAPE = 4 }; /* the most bytes that one byte becomes: \xff */

/* Write `text` with every byte that is no part of a character as \x and two hexadecimal digits, as Python's
 * "backslashreplace" does, into `out` of SP_UTF8_ESCAPE times its size. Returns the bytes written. */
static inline size_t sp_utf8_escape(sp_slice text, uint8_t *out) {
    static const char digits[] = "0123456789abcdef";
    const uint8_t *p = text.data, *end = text.data + text.size;
    uint8_t *start = out;
    while (p != end) {
        size_t size = sp_utf8_character(p, end);
        if (size != 0) {
            memcpy(out, p, size);
            out += size;
            p += size;
        } else {
            *out++ = '\\';
            *out++ = 'x';
            *out++ = (uint8_t)digits[*p >> 4];
            *out++ = (uint8_t)digits[*p & 15];
            p++;
        }
    }
    return (size_t)(out - start);
}

#endif
