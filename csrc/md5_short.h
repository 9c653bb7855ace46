/* Padded blocks of short messages for the kernels whose loads cannot be masked by bytes. No byte
 * outside the message is read: loads that would pass its end are moved back to end with it, and
 * what they read twice is written twice. Little-endian only.
 */
#ifndef SP_MD5_SHORT_H
#define SP_MD5_SHORT_H

#include "md5_rounds.h"

/* The first 16 bytes of the padded block, for size ≤ 15. */
static inline void sp_md5_tiny_block(uint64_t half[2], const uint8_t *p, size_t size) {
    uint64_t x = 0, after = (uint64_t)0x80 << size % 8 * 8;

    if (size >= 8) {
        half[0] = sp_load64(p);
        half[1] = sp_load64(p + size - 8) >> 8 * (15 - size) >> 8 | after; /* 64 if size is 8 */
        return;
    }
    if (size >= 4) {
        x = sp_load32(p) | (uint64_t)sp_load32(p + size - 4) << 8 * (size - 4);
    } else if (size) {
        size_t middle = size / 2, last = size - 1;

        x = (uint64_t)p[0] | (uint64_t)p[middle] << 8 * middle | (uint64_t)p[last] << 8 * last;
    }
    half[0] = x | after;
    half[1] = 0;
}

/* The padded block, for size ≤ 55. */
static inline void sp_md5_short_block(uint8_t block[64], const uint8_t *p, size_t size) {
    uint64_t bits = (uint64_t)size << 3;

    memset(block, 0, 64);
    if (size < 16) {
        uint64_t half[2];

        sp_md5_tiny_block(half, p, size);
        memcpy(block, half, sizeof half);
    } else {
        for (size_t i = 0; i < size - 16; i += 16) {
            memcpy(block + i, p + i, 16);
        }
        memcpy(block + size - 16, p + size - 16, 16);
        block[size] = 0x80;
    }
    memcpy(block + SP_MD5_SIZE_AT, &bits, sizeof bits);
}

#endif
