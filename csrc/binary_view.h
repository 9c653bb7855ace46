/* Arrow's binary view, a row of the layout "vz": a payload of up to 12 bytes itself, or where a longer one is.
 *
 *     size, up to 12 bytes, zeros
 *     size, the first 4 bytes, the number of a buffer, the offset in it
 *
 * Source: the Arrow columnar format, "Variable-size Binary View Layout".
 */
#ifndef SP_BINARY_VIEW_H
#define SP_BINARY_VIEW_H

#include "slice.h"

enum { SP_VIEW_INLINE = 12, SP_VIEW_PREFIX = 4 };

typedef struct {
    int32_t size;
    uint8_t prefix[SP_VIEW_PREFIX];
    int32_t buffer, offset;
} sp_binary_view;

/* The view of `data`, at `offset` in a buffer; both sizes are below 2^31. */
static inline sp_binary_view sp_binary_view_of(sp_slice data, int32_t buffer, size_t offset) {
    sp_binary_view view = {.size = (int32_t)data.size};
    if (data.size > SP_VIEW_INLINE) {
        memcpy(view.prefix, data.data, SP_VIEW_PREFIX);
        view.buffer = buffer;
        view.offset = (int32_t)offset;
    } else if (data.size) {
        memcpy((uint8_t *)&view + sizeof view.size, data.data, data.size);
    }
    return view;
}

#endif
