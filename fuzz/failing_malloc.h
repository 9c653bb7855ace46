/* The allocator of csrc, watched: an allocation fails when it is told to, and the bytes are counted.
 *
 * Link with -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=free. Only what happens between sp_watch and
 * sp_unwatch may fail or counts; blocks that were counted are counted off wherever they are freed.
 */
#ifndef SP_FUZZ_FAILING_MALLOC_H
#define SP_FUZZ_FAILING_MALLOC_H

#include <stddef.h>

/* From here on, the n-th watched allocation fails, once; 0: none. */
void sp_fail_at(size_t n);

void sp_watch(void);
void sp_unwatch(void);

size_t sp_failures(void);    /* so far */
size_t sp_live_blocks(void); /* that were counted and are not freed */
size_t sp_live_bytes(void);

#endif
