/* Protocol Buffers on the wire: varints, tags and lengths, written without checks into space sized
 * before, and read through a bounded cursor. Every read is checked as `n > end - p`; nothing here can
 * read outside the cursor whatever the bytes say.
 *
 * Where implementations differ on malformed input this follows google's upb, which is what Python's
 * protobuf runs: a tag or a length takes at most 5 bytes, a varint at most 10.
 */
#ifndef SP_VARINT_H
#define SP_VARINT_H

#include "slice.h"

enum {
    SP_WIRE_VARINT = 0,
    SP_WIRE_FIXED64 = 1,
    SP_WIRE_BYTES = 2,
    SP_WIRE_GROUP = 3,
    SP_WIRE_END_GROUP = 4,
    SP_WIRE_FIXED32 = 5
};

/* ceil(bits / 7) without a division: bits * 9 / 64 rounds the same way for 1 to 64 bits. */
static inline size_t sp_varint_size(uint64_t value) {
    unsigned bits = 64 - sp_leading_zeros(value | 1);
    return (bits * 9 + 64) / 64;
}

static inline uint8_t *sp_varint_write(uint8_t *out, uint64_t value) {
    while (value >= 0x80) {
        *out++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *out++ = (uint8_t)value;
    return out;
}

/* Each read returns 1 and advances, or returns 0 and leaves the cursor where the trouble is. */

/* At most 10 bytes; bits beyond 64 are dropped, as protobuf does. */
static inline int sp_read_varint(sp_cursor *in, uint64_t *value) {
    if (in->p == in->end) return 0;
    if (*in->p < 0x80) { /* nearly always */
        *value = *in->p++;
        return 1;
    }
    const uint8_t *p = in->p;
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
        if (p == in->end) return 0;
        uint8_t byte = *p++;
        v |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            in->p = p;
            *value = v;
            return 1;
        }
    }
    return 0;
}

static inline int sp_read_varint32(sp_cursor *in, uint32_t max, uint32_t *value) {
    sp_cursor at = *in;
    uint64_t v;
    if (!sp_read_varint(&at, &v) || v > max || at.p - in->p > 5) return 0;
    in->p = at.p;
    *value = (uint32_t)v;
    return 1;
}

/* A field's tag, `number << 3 | wire type`. Field number 0 does not exist. */
static inline int sp_read_tag(sp_cursor *in, uint32_t *tag) {
    sp_cursor at = *in;
    if (!sp_read_varint32(&at, UINT32_MAX, tag) || *tag >> 3 == 0) return 0;
    in->p = at.p;
    return 1;
}

static inline int sp_skip_bytes(sp_cursor *in, size_t n) {
    if (n > (size_t)(in->end - in->p)) return 0;
    in->p += n;
    return 1;
}

/* A length and that many bytes. */
static inline int sp_read_bytes(sp_cursor *in, sp_slice *bytes) {
    sp_cursor at = *in;
    uint32_t size;
    if (!sp_read_varint32(&at, INT32_MAX, &size)) return 0;
    const uint8_t *data = at.p;
    if (!sp_skip_bytes(&at, size)) return 0;
    in->p = at.p;
    *bytes = (sp_slice){data, size};
    return 1;
}

#endif
