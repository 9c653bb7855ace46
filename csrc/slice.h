/* A borrowed run of bytes: what every kernel reads. `data` may be NULL only when `size` is 0. */
#ifndef SP_SLICE_H
#define SP_SLICE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct {
    const uint8_t *data;
    size_t size;
} sp_slice;

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

#endif
