/* Distinct texts in first-seen order, as an Arrow dictionary wants them: offsets and bytes, all valid UTF-8.
 *
 * What is not UTF-8 is put in escaped (utf8.h), and is the same entry as that text, unless `exact` is set. A dictionary
 * belongs to one thread at a time.
 */
#ifndef SP_DICTIONARY_H
#define SP_DICTIONARY_H

#include "deaggregate.h"
#include "text_table.h"

typedef struct {
    /* of the entries; offsets has count + 1 of them, or is NULL while there are none */
    int64_t *offsets;
    uint8_t *bytes;
    uint32_t count;
    int exact; /* bytes that are not UTF-8 stay as they are: two texts are never one entry */
    /* to find them by */
    sp_seed seed;
    sp_text_table table;
    size_t offsets_capacity, bytes_capacity;
} sp_dictionary;

/* An empty dictionary, which owns no memory yet. */
static inline sp_dictionary sp_dictionary_make(sp_seed seed) {
    return (sp_dictionary){.seed = seed};
}

/* Find texts or put them in; `indices` get their places. Return 1, or 0 without memory. */
int sp_dictionary_add(sp_dictionary *dictionary, sp_slice text, int32_t *index);
int sp_dictionary_add_table(sp_dictionary *dictionary, sp_slice message, const sp_span *spans, uint32_t n,
                            int32_t *indices);

/* Nothing more will be looked for: keep offsets and bytes alone. Gives an empty dictionary its one offset.
 * Returns 1, or 0 without memory. */
int sp_dictionary_close(sp_dictionary *dictionary);
void sp_dictionary_free(sp_dictionary *dictionary);

#endif
