#include "dictionary.h"

#include "utf8.h"

enum { MIN_OFFSETS = 64, MIN_BYTES = 4096 };

/* Room for another text and its bytes. */
static int reserve(sp_dictionary *dictionary, size_t size) {
    size_t used = dictionary->count ? (size_t)dictionary->offsets[dictionary->count] : 0;
    if (!sp_text_table_reserve(&dictionary->table)) return 0;
    if (dictionary->count + (size_t)2 > dictionary->offsets_capacity) {
        int64_t *offsets = sp_grown(dictionary->offsets, &dictionary->offsets_capacity, dictionary->count + (size_t)2,
                                    sizeof *offsets, MIN_OFFSETS);
        if (!offsets) return 0;
        dictionary->offsets = offsets;
        if (dictionary->count == 0) offsets[0] = 0;
    }
    if (size > dictionary->bytes_capacity - used) {
        uint8_t *bytes = sp_grown(dictionary->bytes, &dictionary->bytes_capacity, used + size, 1, MIN_BYTES);
        if (!bytes) return 0;
        dictionary->bytes = bytes;
    }
    return 1;
}

static int append(sp_dictionary *dictionary, sp_slice bytes, sp_text *text) {
    if (!reserve(dictionary, bytes.size)) return 0;
    int64_t end = dictionary->offsets[dictionary->count];
    if (bytes.size) memcpy(dictionary->bytes + end, bytes.data, bytes.size);
    text->offset = (uint64_t)end;
    sp_text_append(&dictionary->table, text);
    dictionary->offsets[++dictionary->count] = end + (int64_t)bytes.size;
    return 1;
}

static int append_escaped(sp_dictionary *dictionary, sp_slice text, int32_t *index) {
    uint8_t *escaped = malloc(text.size * SP_UTF8_ESCAPE);
    if (!escaped) return 0;
    int done = sp_dictionary_add(dictionary, (sp_slice){escaped, sp_utf8_escape(text, escaped)}, index);
    free(escaped);
    return done;
}

static inline int add(sp_dictionary *dictionary, sp_slice bytes, int32_t *index) {
    sp_text text = sp_text_of(bytes, dictionary->seed);
    uint32_t found = sp_text_find(&dictionary->table, &text, bytes.data, dictionary->bytes);
    *index = (int32_t)found;
    if (found < dictionary->count) return 1;
    int ascii = bytes.size <= SP_TEXT_SHORT && !((text.first | text.last) & 0x8080808080808080);
    if (!ascii && !dictionary->exact && !sp_is_utf8(bytes)) return append_escaped(dictionary, bytes, index);
    return append(dictionary, bytes, &text);
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
    sp_text_table_free(&dictionary->table);
    if (dictionary->offsets) return 1;
    dictionary->offsets = calloc(1, sizeof *dictionary->offsets);
    return dictionary->offsets != NULL;
}

void sp_dictionary_free(sp_dictionary *dictionary) {
    sp_text_table_free(&dictionary->table);
    free(dictionary->offsets);
    free(dictionary->bytes);
    *dictionary = (sp_dictionary){0};
}
