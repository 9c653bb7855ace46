/* A borrowed run of bytes: what every kernel reads. `data` may be NULL only when `size` is 0. */
#ifndef SP_SLICE_H
#define SP_SLICE_H

#include "compiler.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct {
    const uint8_t *data;
    size_t size;
} sp_slice;

/* What is left of a slice to read: from `p` to `end`. */
typedef struct {
    const uint8_t *p, *end;
} sp_cursor;

static inline sp_cursor sp_cursor_over(sp_slice bytes) {
    return (sp_cursor){bytes.data, bytes.data + bytes.size};
}

/* Eight bytes, or four, however they lie. */
static inline uint64_t sp_load64(const uint8_t *p) {
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline uint32_t sp_load32(const uint8_t *p) {
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* Copy what is mostly a few words long: for them, a call of memcpy takes longer than the copying. */
static inline void sp_copy_short(uint8_t *out, sp_slice content) {
    const uint8_t *p = content.data;
    size_t n = content.size;
    if (n >= 8 && n <= 16) {
        uint64_t first = sp_load64(p), last = sp_load64(p + n - 8);
        memcpy(out, &first, 8);
        memcpy(out + n - 8, &last, 8);
    } else if (n >= 4 && n < 8) {
        uint32_t first = sp_load32(p), last = sp_load32(p + n - 4);
        memcpy(out, &first, 4);
        memcpy(out + n - 4, &last, 4);
    } else if (n) {
        memcpy(out, p, n);
    }
}

#endif
