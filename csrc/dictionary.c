#include "dictionary.h"

#include <stdlib.h>
#include <string.h>

#include "utf8.h"

/* With 8 slots an entry the first one looked at is nearly always the last: with 4 a lookup takes a third longer, for a
 * second step is a branch that was guessed wrong. Where there are so many that most lookups miss the caches, 2 are as
 * good; and a stranger's message of nothing but short keys, all different, costs a third of the memory. */
enum { MIN_ENTRIES = 64, MANY_ENTRIES = 1 << 14, SHORT = 16, MIN_BYTES = 4096 };

/* What of a text is compared at once, all of it up to 16 bytes: first and last 8 of them, which may overlap; of fewer
 * than 8, the bytes themselves and 0. */
typedef struct sp_dictionary_entry {
    uint64_t first, last, size;
} entry;

/* Where an entry's hash led: its index + 1, or 0. The hash stays, so that a table grows without a look at its texts,
 * and nearly all that differs is told apart here. */
typedef struct sp_dictionary_slot {
    uint32_t hash, index_and_1;
} slot;

static inline uint32_t load32(const uint8_t *p) {
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline entry entry_of(sp_slice text) {
    const uint8_t *p = text.data;
    size_t n = text.size;
    if (n >= 8) return (entry){sp_load64(p), sp_load64(p + n - 8), n};
    if (n >= 4) return (entry){(uint64_t)load32(p + n - 4) << 32 | load32(p), 0, n};
    if (n > 0) return (entry){(uint64_t)p[n - 1] << 16 | (uint64_t)p[n / 2] << 8 | p[0], 0, n};
    return (entry){0, 0, 0};
}

/* Both halves of the product of 64 bits by 64, folded: each bit of either reaches most bits of the result. */
static inline uint64_t fold(uint64_t a, uint64_t b) {
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)(product >> 64) ^ (uint64_t)product;
}

static inline uint32_t hash_of(const entry *wanted, const uint8_t *p, sp_dictionary_seed seed) {
    uint64_t hash = fold(wanted->first ^ seed.first, wanted->last ^ seed.last ^ wanted->size);
    if (wanted->size > SHORT) {
        for (size_t i = 8; i < wanted->size - 8; i += 8) hash = fold(hash ^ sp_load64(p + i), seed.last);
    }
    return (uint32_t)hash;
}

static inline slot *place_of(const sp_dictionary *dictionary, uint32_t hash) {
    return &dictionary->slots[hash & dictionary->mask];
}

static inline slot *behind(const sp_dictionary *dictionary, slot *at) {
    return at == &dictionary->slots[dictionary->mask] ? dictionary->slots : at + 1;
}

static size_t slots_for(uint32_t capacity) {
    return (size_t)capacity * (capacity < MANY_ENTRIES ? 8 : 2);
}

static int grow(sp_dictionary *dictionary) {
    if (dictionary->capacity > INT32_MAX / 2) return 0; /* a mask has 32 bits */
    uint32_t capacity = dictionary->capacity ? dictionary->capacity * 2 : MIN_ENTRIES;
    size_t n = slots_for(capacity);
    slot *old = dictionary->slots;
    slot *slots = calloc(n, sizeof *slots);
    entry *entries = realloc(dictionary->entries, capacity * sizeof *entries);
    if (entries) dictionary->entries = entries;
    int64_t *offsets = realloc(dictionary->offsets, (capacity + (size_t)1) * sizeof *offsets);
    if (offsets) dictionary->offsets = offsets;
    if (!slots || !entries || !offsets) {
        free(slots);
        return 0;
    }
    if (dictionary->capacity == 0) offsets[0] = 0;
    size_t old_n = slots_for(dictionary->capacity);
    dictionary->slots = slots;
    dictionary->mask = (uint32_t)(n - 1);
    dictionary->capacity = capacity;
    for (size_t i = 0; i < old_n; i++) {
        if (!old[i].index_and_1) continue;
        slot *at = place_of(dictionary, old[i].hash);
        while (at->index_and_1) at = behind(dictionary, at);
        *at = old[i];
    }
    free(old);
    return 1;
}

/* Room for the bytes of another text. */
static int reserve_bytes(sp_dictionary *dictionary, size_t size) {
    size_t used = (size_t)dictionary->offsets[dictionary->count];
    size_t capacity = dictionary->bytes_capacity ? dictionary->bytes_capacity : MIN_BYTES;
    if (size > SIZE_MAX / 4 - used) return 0;
    while (capacity - used < size) capacity *= 2;
    if (capacity == dictionary->bytes_capacity) return 1;
    uint8_t *bytes = realloc(dictionary->bytes, capacity);
    if (!bytes) return 0;
    dictionary->bytes = bytes;
    dictionary->bytes_capacity = capacity;
    return 1;
}

static int append(sp_dictionary *dictionary, sp_slice text, const entry *wanted, uint32_t hash) {
    if (dictionary->count == dictionary->capacity && !grow(dictionary)) return 0;
    if (!reserve_bytes(dictionary, text.size)) return 0;
    slot *at = place_of(dictionary, hash);
    while (at->index_and_1) at = behind(dictionary, at);
    uint32_t index = dictionary->count++;
    int64_t end = dictionary->offsets[index];
    if (text.size) memcpy(dictionary->bytes + end, text.data, text.size);
    dictionary->offsets[index + 1] = end + (int64_t)text.size;
    dictionary->entries[index] = *wanted;
    *at = (slot){hash, index + 1};
    return 1;
}

static int append_escaped(sp_dictionary *dictionary, sp_slice text, int32_t *index) {
    uint8_t *escaped = malloc(text.size * SP_UTF8_ESCAPE);
    if (!escaped) return 0;
    int done = sp_dictionary_add(dictionary, (sp_slice){escaped, sp_utf8_escape(text, escaped)}, index);
    free(escaped);
    return done;
}

static inline int add(sp_dictionary *dictionary, sp_slice text, int32_t *index) {
    if (!dictionary->slots && !grow(dictionary)) return 0;
    const entry wanted = entry_of(text);
    uint32_t hash = hash_of(&wanted, text.data, dictionary->seed);
    for (slot *at = place_of(dictionary, hash); at->index_and_1; at = behind(dictionary, at)) {
        if (at->hash != hash) continue;
        uint32_t found = at->index_and_1 - 1;
        const entry *there = &dictionary->entries[found];
        if (there->first != wanted.first || there->last != wanted.last || there->size != wanted.size) continue;
        if (wanted.size > SHORT &&
            memcmp(dictionary->bytes + dictionary->offsets[found] + 8, text.data + 8, text.size - SHORT) != 0) {
            continue;
        }
        *index = (int32_t)found;
        return 1;
    }
    int ascii = wanted.size <= SHORT && !((wanted.first | wanted.last) & 0x8080808080808080);
    if (!ascii && !sp_is_utf8(text)) return append_escaped(dictionary, text, index);
    *index = (int32_t)dictionary->count;
    return append(dictionary, text, &wanted, hash);
}

int sp_dictionary_add(sp_dictionary *dictionary, sp_slice text, int32_t *index) {
    return add(dictionary, text, index);
}

int sp_dictionary_add_table(sp_dictionary *dictionary, sp_slice message, const sp_span *spans, uint32_t n,
                            int32_t *indices) {
    for (uint32_t i = 0; i < n; i++) {
        if (!add(dictionary, sp_span_of(message, spans[i]), &indices[i])) return 0;
    }
    return 1;
}

int sp_dictionary_close(sp_dictionary *dictionary) {
    free(dictionary->slots);
    free(dictionary->entries);
    dictionary->slots = NULL;
    dictionary->entries = NULL;
    if (dictionary->offsets) return 1;
    dictionary->offsets = calloc(1, sizeof *dictionary->offsets);
    return dictionary->offsets != NULL;
}

void sp_dictionary_free(sp_dictionary *dictionary) {
    free(dictionary->slots);
    free(dictionary->entries);
    free(dictionary->offsets);
    free(dictionary->bytes);
    *dictionary = (sp_dictionary){0};
}
