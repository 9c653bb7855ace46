/* A borrowed run of bytes: what every kernel reads. `data` may be NULL only when `size` is 0. */
#ifndef SP_SLICE_H
#define SP_SLICE_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    const uint8_t *data;
    size_t size;
} sp_slice;

#endif
