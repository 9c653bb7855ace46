/* Arrays that grow by doubling. */
#ifndef SP_GROWTH_H
#define SP_GROWTH_H

#include <stdint.h>
#include <stdlib.h>

/* Memory for at least `count` items of `size` bytes in place of `memory`, which has room for `*capacity`; `least` is
 * what it starts with. Returns the memory, `*capacity` being what it has room for now; or NULL without memory, and then
 * nothing has changed. */
static inline void *sp_grown(void *memory, size_t *capacity, size_t count, size_t size, size_t least) {
    size_t larger = *capacity ? *capacity : least;
    while (larger < count) {
        if (larger > SIZE_MAX / 2 / size) return NULL;
        larger *= 2;
    }
    void *grown = realloc(memory, larger * size);
    if (grown) *capacity = larger;
    return grown;
}

#endif
