#define _GNU_SOURCE
#include "failing_malloc.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

void *__real_malloc(size_t size);
void *__real_realloc(void *memory, size_t size);
void __real_free(void *memory);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);
void __wrap_free(void *memory);

/* What was counted is found again by its address: open addressing, deletion by moving back. */
typedef struct {
    uintptr_t address;
    size_t size;
} block;

enum { MOST_BLOCKS = 1 << 17 };
static block blocks[MOST_BLOCKS];
static size_t failing_at, failures, live_blocks, live_bytes;
static int is_watching;

void sp_fail_at(size_t n) {
    failing_at = n;
}
void sp_watch(void) {
    is_watching = 1;
}
void sp_unwatch(void) {
    is_watching = 0;
}
size_t sp_failures(void) {
    return failures;
}
size_t sp_live_blocks(void) {
    return live_blocks;
}
size_t sp_live_bytes(void) {
    return live_bytes;
}

static size_t home(uintptr_t address) {
    return (size_t)((address >> 4) * 0x9e3779b97f4a7c15u >> 47) % MOST_BLOCKS;
}

static block *find(uintptr_t address) {
    size_t at = home(address);
    while (blocks[at].address && blocks[at].address != address) at = (at + 1) % MOST_BLOCKS;
    return &blocks[at];
}

static void count(void *memory, size_t size) {
    if (!memory) return;
    if (live_blocks >= MOST_BLOCKS / 2) abort();
    *find((uintptr_t)memory) = (block){(uintptr_t)memory, size};
    live_blocks++;
    live_bytes += size;
}

/* Whether it was counted. */
static int count_off(void *memory) {
    block *found = find((uintptr_t)memory);
    if (!memory || !found->address) return 0;
    live_blocks--;
    live_bytes -= found->size;
    size_t hole = (size_t)(found - blocks);
    for (size_t at = (hole + 1) % MOST_BLOCKS; blocks[at].address; at = (at + 1) % MOST_BLOCKS) {
        size_t from = home(blocks[at].address);
        if ((at - from) % MOST_BLOCKS < (at - hole) % MOST_BLOCKS) continue; /* it would be put before its home */
        blocks[hole] = blocks[at];
        hole = at;
    }
    blocks[hole] = (block){0};
    return 1;
}

static int fails(void) {
    if (!is_watching || failing_at == 0 || --failing_at > 0) return 0;
    failures++;
    return 1;
}

void *__wrap_malloc(size_t size) {
    if (fails()) return NULL;
    void *memory = __real_malloc(size);
    if (is_watching) count(memory, size);
    return memory;
}

void *__wrap_calloc(size_t n, size_t size) {
    if (fails() || (size && n > SIZE_MAX / size)) return NULL;
    void *memory = __real_malloc(n * size);
    if (memory) memset(memory, 0, n * size);
    if (is_watching) count(memory, n * size);
    return memory;
}

void *__wrap_realloc(void *memory, size_t size) {
    if (fails()) return NULL;
    int was_counted = count_off(memory);
    void *moved = __real_realloc(memory, size);
    if (is_watching || was_counted) count(moved, size);
    return moved;
}

void __wrap_free(void *memory) {
    count_off(memory);
    __real_free(memory);
}
