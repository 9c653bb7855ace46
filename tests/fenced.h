/* Memory that ends at an unreadable page and begins behind one, and cases read from standard input: what the programs
 * share that run kernels alone. Whoever includes it defines _DEFAULT_SOURCE first, for MAP_ANONYMOUS. */
#ifndef SP_TESTS_FENCED_H
#define SP_TESTS_FENCED_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* Readable memory of whole pages, more than was asked for, with an unreadable page on either side. */
typedef struct {
    uint8_t *bytes;
    size_t size;
} fenced;

/* The test itself cannot go on. */
static inline _Noreturn void stop(const char *what) {
    fprintf(stderr, "%s\n", what);
    exit(2);
}

static inline size_t page_size(void) {
    return (size_t)sysconf(_SC_PAGESIZE);
}

static inline fenced fence(size_t size) {
    size_t page = page_size(), room = (size / page + 1) * page;
    uint8_t *all = mmap(NULL, room + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (all == MAP_FAILED || mprotect(all + page, room, PROT_READ | PROT_WRITE) != 0) {
        stop("no memory");
    }
    return (fenced){all + page, room};
}

static inline void unfence(fenced memory) {
    munmap(memory.bytes - page_size(), memory.size + 2 * page_size());
}

/* 0 where the input is at its end. */
static inline int read_or_end(void *out, size_t size) {
    size_t got = size ? fread(out, 1, size, stdin) : 0;

    if (got != size && got != 0) {
        stop("input ends early");
    }
    return got == size;
}

static inline void read_exactly(void *out, size_t size) {
    if (!read_or_end(out, size)) {
        stop("input ends early");
    }
}

static inline uint32_t read_u32(void) {
    uint8_t b[4];

    read_exactly(b, sizeof b);
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

#endif
