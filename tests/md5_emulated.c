/* Hash batches of messages with every MD5 kernel that runs here; compare with the digests that came with them.
 *
 * Standard input, written by test_md5_emulated.py, integers little-endian:
 *     batch    = count:u32 message{count}
 *     message  = size:u32 digest:16 bytes:size
 * Standard output: the name of the kernel chosen at the start, then one line "name digests" for each kernel.
 * Exit status 1 says that a digest differs, 2 that the test itself cannot go on.
 *
 * Every message lies between two unreadable pages, and the digests end at a third.
 *
 * With the argument "before" or "behind" it reads just outside such memory instead, and must not survive that.
 */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */

#include <string.h>

#include "fenced.h"
#include "md5.h"

enum { FIRST_SHIFT = 1, SHIFTS = 63 };

/* Where a message lies in its memory. */
typedef enum { AT_START, AT_END, SHIFTED, PLACES } place;

/* With room for `size` bytes at any shift. */
static fenced fence_shifted(size_t size) {
    return fence(size + FIRST_SHIFT + SHIFTS);
}

/* A batch: its messages, the digests that hashlib found, and the memory that messages move about in. */
typedef struct {
    size_t count;
    sp_slice *messages;
    fenced *memories;
    uint8_t *expected;
    fenced digests;
} batch;

static batch read_batch(size_t count) {
    size_t digests_size = SP_MD5_DIGEST_SIZE * count;
    batch b = {count, calloc(count, sizeof *b.messages), calloc(count, sizeof *b.memories), malloc(digests_size),
               fence_shifted(digests_size)};

    if (!b.messages || !b.memories || !b.expected) {
        stop("no memory");
    }
    for (size_t i = 0; i < count; i++) {
        uint32_t size = read_u32();

        read_exactly(b.expected + SP_MD5_DIGEST_SIZE * i, SP_MD5_DIGEST_SIZE);
        b.memories[i] = fence_shifted(size);
        b.messages[i] = (sp_slice){b.memories[i].bytes, size};
        read_exactly(b.memories[i].bytes, size);
    }
    return b;
}

static void free_batch(batch b) {
    for (size_t i = 0; i < b.count; i++) unfence(b.memories[i]);
    unfence(b.digests);
    free(b.messages);
    free(b.memories);
    free(b.expected);
}

/* Move every message to its place; an empty one that is shifted has no address. */
static void put(batch b, place where) {
    for (size_t i = 0; i < b.count; i++) {
        size_t size = b.messages[i].size;
        uint8_t *to = b.memories[i].bytes;

        if (where == AT_END) {
            to += b.memories[i].size - size;
        } else if (where == SHIFTED) {
            to += FIRST_SHIFT + (size + i) % SHIFTS;
        }
        if (size) {
            memmove(to, b.messages[i].data, size);
        }
        b.messages[i].data = size || where != SHIFTED ? to : NULL;
    }
}

/* Hash the batch as it lies; how many digests differ. */
static size_t differences(batch b, const char *kernel, place where) {
    static const char *const names[PLACES] = {"at the start", "at the end", "shifted"};
    uint8_t *digests = b.digests.bytes + b.digests.size - SP_MD5_DIGEST_SIZE * b.count;
    size_t different = 0;

    memset(b.digests.bytes, 0x5a, b.digests.size);
    sp_md5_many(b.messages, b.count, digests);
    for (size_t i = 0; i < b.count; i++) {
        size_t at = SP_MD5_DIGEST_SIZE * i;

        if (memcmp(digests + at, b.expected + at, SP_MD5_DIGEST_SIZE) != 0) {
            printf("%s: message %zu of %zu, %zu bytes, %s of its memory\n", kernel, i, b.count, b.messages[i].size,
                   names[where]);
            different++;
        }
    }
    for (const uint8_t *p = b.digests.bytes; p < digests; p++) {
        if (*p != 0x5a) {
            printf("%s: wrote before the digests of %zu messages\n", kernel, b.count);
            return different + 1;
        }
    }
    return different;
}

int main(int argc, char **argv) {
    size_t *hashed = calloc(sp_md5_kernel_count, sizeof *hashed), different = 0;

    if (argc > 1) {
        fenced memory = fence(1);

        return *(volatile uint8_t *)(strcmp(argv[1], "before") == 0 ? memory.bytes - 1 : memory.bytes + memory.size);
    }
    if (!hashed) {
        stop("no memory");
    }
    printf("%s\n", sp_md5_kernel_name());
    for (int c; (c = getchar()) != EOF;) {
        ungetc(c, stdin);
        batch b = read_batch(read_u32());

        for (place where = 0; where < PLACES; where++) {
            put(b, where);
            for (size_t k = 0; k < sp_md5_kernel_count; k++) {
                if (sp_md5_set_kernel(sp_md5_kernels[k].name) == 0) {
                    different += differences(b, sp_md5_kernels[k].name, where);
                    hashed[k] += b.count;
                }
            }
        }
        free_batch(b);
    }
    for (size_t k = 0; k < sp_md5_kernel_count; k++) {
        if (sp_md5_kernels[k].supported()) {
            printf("%s %zu\n", sp_md5_kernels[k].name, hashed[k]);
        }
    }
    free(hashed);
    return different != 0;
}
