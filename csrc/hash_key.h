/* A hash key: the unsigned 128-bit integer that places a record on the ring of shards.
 * It is an explicit hash key given in decimal, or the MD5 of the partition key read big-endian. */
#ifndef SP_HASH_KEY_H
#define SP_HASH_KEY_H

#include "compiler.h"

#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint64_t high, low;
} sp_hash_key;

enum { SP_HASH_KEY_MAX_DIGITS = 39 }; /* 340282366920938463463374607431768211455 */

static inline uint64_t sp_load_be64(const uint8_t *p) {
    return (uint64_t)p[0] << 56 | (uint64_t)p[1] << 48 | (uint64_t)p[2] << 40 | (uint64_t)p[3] << 32 |
           (uint64_t)p[4] << 24 | (uint64_t)p[5] << 16 | (uint64_t)p[6] << 8 | (uint64_t)p[7];
}

/* From 16 bytes, big-endian: a digest, or int.to_bytes(16, "big"). */
static inline sp_hash_key sp_hash_key_from_bytes(const uint8_t *bytes) {
    return (sp_hash_key){sp_load_be64(bytes), sp_load_be64(bytes + 8)};
}

static inline int sp_hash_key_less(sp_hash_key a, sp_hash_key b) {
    return a.high < b.high || (a.high == b.high && a.low < b.low);
}

static inline int sp_hash_key_equal(sp_hash_key a, sp_hash_key b) {
    return a.high == b.high && a.low == b.low;
}

/* 128 bits are two parts of 19 digits and one digit before them: the parts fit in 64 bits, where arithmetic is fast. */
enum { SP_PART_DIGITS = 19 };
static const uint64_t SP_PART = 10000000000000000000u; /* 10^19 */

/* Read a decimal number of any length; leading zeros count as nothing.
 * 0, or -1 when there is no digit, another character, or a value of 2^128 or more. */
static inline int sp_hash_key_parse(const uint8_t *text, size_t size, sp_hash_key *value) {
    if (size == 0) return -1;
    while (size > 1 && *text == '0') text++, size--;
    if (size > SP_HASH_KEY_MAX_DIGITS) return -1;
    uint64_t parts[3] = {0, 0, 0}; /* the last digits first */
    for (size_t i = 0; i < size; i++) {
        unsigned digit = (unsigned)text[i] - '0';
        if (digit > 9) return -1;
        uint64_t *part = &parts[(size - 1 - i) / SP_PART_DIGITS];
        *part = *part * 10 + digit;
    }
    const sp_uint128 max = ~(sp_uint128)0;
    sp_uint128 upper = (sp_uint128)parts[2] * SP_PART + parts[1];
    if (upper > max / SP_PART) return -1;
    upper *= SP_PART;
    if (parts[0] > max - upper) return -1;
    upper += parts[0];
    *value = (sp_hash_key){(uint64_t)(upper >> 64), (uint64_t)upper};
    return 0;
}

/* Write the canonical decimal form (no leading zeros) to text[SP_HASH_KEY_MAX_DIGITS]; its length. */
static inline size_t sp_hash_key_format(sp_hash_key key, uint8_t *text) {
    sp_uint128 v = (sp_uint128)key.high << 64 | key.low;
    uint64_t parts[3] = {(uint64_t)(v % SP_PART), 0, 0}; /* the last digits first */
    v /= SP_PART;
    parts[1] = (uint64_t)(v % SP_PART);
    parts[2] = (uint64_t)(v / SP_PART);
    uint8_t digits[3 * SP_PART_DIGITS], *start = digits + sizeof digits;
    int last = parts[2] ? 2 : parts[1] ? 1 : 0;
    for (int i = 0; i <= last; i++) {
        uint64_t part = parts[i];
        for (int j = 0; i < last ? j < SP_PART_DIGITS : j == 0 || part; j++) {
            *--start = (uint8_t)('0' + part % 10);
            part /= 10;
        }
    }
    size_t size = (size_t)(digits + sizeof digits - start);
    for (size_t i = 0; i < size; i++) text[i] = start[i];
    return size;
}

#endif
