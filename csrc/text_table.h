/* Distinct texts in first-seen order: the key tables of buckets, and the dictionaries of Arrow.
 *
 * Found through open addressing under a secret seed, for what strangers choose must not decide how long a search takes,
 * and compared by all their bytes: two texts with one hash, or one MD5, stay two. The table holds what is compared of a
 * text, nearly always all of it; the bytes of longer ones are its owner's, who knows them by their offset.
 *
 * In a header of its own because buckets and dictionaries belong to different extensions. A table belongs to one thread
 * at a time.
 */
#ifndef SP_TEXT_TABLE_H
#define SP_TEXT_TABLE_H

#include "growth.h"
#include "slice.h"

/* Random and secret, one for a process. */
typedef struct {
    uint64_t first, last;
} sp_seed;

/* `first` and `last` are the first and the last 8 bytes, which may overlap; of fewer than 8, the bytes and 0. */
typedef struct {
    uint64_t first, last;
    uint64_t offset; /* where its owner has it; not compared */
    uint32_t size, hash;
} sp_text;

/* Slots hold a text's index + 1, or 0. */
typedef struct {
    sp_text *texts;
    uint32_t *slots;
    uint32_t count, capacity, mask;
} sp_text_table;

/* With 8 slots a text the first one looked at is nearly always the last: with 4 a lookup takes a third longer, for a
 * second step is a branch that was guessed wrong. Where there are so many that most lookups miss the caches, 4 are as
 * good, and a stranger's message of nothing but short keys, all different, costs less memory. */
enum { SP_TEXT_SHORT = 16, SP_FEWEST_TEXTS = 8, SP_MANY_TEXTS = 1 << 14 };

static inline size_t sp_text_slots(uint32_t capacity) {
    return (size_t)capacity * (capacity < SP_MANY_TEXTS ? 8 : 4);
}

/* Both halves of the product of 64 bits by 64, folded: each bit of either reaches most bits of the result. */
static inline uint64_t sp_fold(uint64_t a, uint64_t b) {
    sp_uint128 product = (sp_uint128)a * b;
    return (uint64_t)(product >> 64) ^ (uint64_t)product;
}

static inline sp_text sp_text_of(sp_slice bytes, sp_seed seed) {
    const uint8_t *p = bytes.data;
    size_t n = bytes.size;
    sp_text text = {.size = (uint32_t)n};
    if (n >= 8) {
        text.first = sp_load64(p);
        text.last = sp_load64(p + n - 8);
    } else if (n >= 4) {
        text.first = (uint64_t)sp_load32(p + n - 4) << 32 | sp_load32(p);
    } else if (n > 0) {
        text.first = (uint64_t)p[n - 1] << 16 | (uint64_t)p[n / 2] << 8 | p[0];
    }
    uint64_t hash = sp_fold(text.first ^ seed.first, text.last ^ seed.last ^ n);
    for (size_t i = 8; n > SP_TEXT_SHORT && i < n - 8; i += 8) hash = sp_fold(hash ^ sp_load64(p + i), seed.last);
    text.hash = (uint32_t)hash;
    return text;
}

/* The index of the text whose bytes begin at `p`, or the table's count where it is new. `kept` is where its owner has
 * those of the others. */
static inline uint32_t sp_text_find(const sp_text_table *table, const sp_text *wanted, const uint8_t *p,
                                    const uint8_t *kept) {
    if (!table->slots) return table->count;
    for (uint32_t at = wanted->hash & table->mask; table->slots[at]; at = (at + 1) & table->mask) {
        uint32_t index = table->slots[at] - 1;
        const sp_text *known = &table->texts[index];
        if (known->first == wanted->first && known->last == wanted->last && known->size == wanted->size &&
            (wanted->size <= SP_TEXT_SHORT ||
             memcmp(kept + known->offset + 8, p + 8, wanted->size - SP_TEXT_SHORT) == 0)) {
            return index;
        }
    }
    return table->count;
}

static inline void sp_text_place(sp_text_table *table, uint32_t index) {
    uint32_t at = table->texts[index].hash & table->mask;
    while (table->slots[at]) at = (at + 1) & table->mask;
    table->slots[at] = index + 1;
}

static SP_NOINLINE int sp_text_table_grow(sp_text_table *table) {
    size_t capacity = table->capacity;
    if (capacity > INT32_MAX / 8) return 0; /* a mask has 32 bits, and Arrow's indices 31 */
    sp_text *texts = sp_grown(table->texts, &capacity, (size_t)table->capacity + 1, sizeof *texts, SP_FEWEST_TEXTS);
    if (!texts) return 0;
    table->texts = texts;
    size_t slots_count = sp_text_slots((uint32_t)capacity);
    uint32_t *slots = calloc(slots_count, sizeof *slots);
    if (!slots) return 0; /* the larger array of texts stays, its room unused */
    free(table->slots);
    table->slots = slots;
    table->capacity = (uint32_t)capacity;
    table->mask = (uint32_t)(slots_count - 1);
    for (uint32_t i = 0; i < table->count; i++) sp_text_place(table, i);
    return 1;
}

/* Room for one more text: 1, or 0 without memory. */
static inline int sp_text_table_reserve(sp_text_table *table) {
    return table->count < table->capacity || sp_text_table_grow(table);
}

/* Append a text that is not there yet. Room was reserved. */
static inline void sp_text_append(sp_text_table *table, const sp_text *text) {
    table->texts[table->count] = *text;
    sp_text_place(table, table->count++);
}

/* Forget all texts, in time that goes with their number: a table that a burst has left large costs no more. */
static inline void sp_text_table_clear(sp_text_table *table) {
    if (table->count > table->capacity / 4) {
        memset(table->slots, 0, sp_text_slots(table->capacity) * sizeof *table->slots);
        table->count = 0;
    }
    while (table->count) { /* the last one first: whoever it had to pass is still in its place */
        uint32_t index = --table->count, at = table->texts[index].hash & table->mask;
        while (table->slots[at] != index + 1) at = (at + 1) & table->mask;
        table->slots[at] = 0;
    }
}

static inline size_t sp_text_table_memory(const sp_text_table *table) {
    if (!table->capacity) return 0;
    return table->capacity * sizeof *table->texts + sp_text_slots(table->capacity) * sizeof *table->slots;
}

static inline void sp_text_table_free(sp_text_table *table) {
    free(table->texts);
    free(table->slots);
    *table = (sp_text_table){0};
}

/* Bring into the cache what a search reads first. */
static inline void sp_text_prefetch_slot(const sp_text_table *table, uint32_t hash) {
    if (table->slots) SP_PREFETCH(&table->slots[hash & table->mask]);
}

#endif
