/* Rows are read a block at a time: a column's values as slices, by a loop of their layout, and then the checks, which
 * know no layouts. */
#include "arrow_in.h"

#include "aggregate.h"
#include "binary_view.h"
#include "growth.h"
#include "utf8.h"

enum { BLOCK = 256, MAX_KEY_CHARACTERS = 256, MAX_KEY_BYTES = 4 * MAX_KEY_CHARACTERS, MIN_KEYS = 1024 };

static const uint8_t NOTHING[1]; /* where values of no bytes lie: no address at all means null */

/* --- types --- */

static size_t integer_width(char format, int *is_signed) {
    static const char formats[] = "cCsSiIlL";
    const char *found = format ? strchr(formats, format) : NULL;
    if (!found) return 0;
    *is_signed = (found - formats) % 2 == 0;
    return (size_t)1 << (found - formats) / 2;
}

/* Decimal digits up to `end`, or -1. */
static int64_t number(const char *text, char end, const char **behind) {
    int64_t value = 0;
    if (*text == end) return -1;
    for (; *text && *text != end; text++) {
        if (*text < '0' || *text > '9' || value > INT32_MAX) return -1;
        value = value * 10 + (*text - '0');
    }
    *behind = text;
    return value > INT32_MAX ? -1 : value;
}

static int plain_type(const char *format, sp_arrow_type *type) {
    const char *rest;
    if (format[0] == 'n' && !format[1]) {
        type->layout = SP_LAYOUT_NULLS;
    } else if (strchr("uzUZ", format[0]) && format[0] && !format[1]) {
        type->layout = format[0] == 'u' || format[0] == 'z' ? SP_LAYOUT_OFFSETS_4 : SP_LAYOUT_OFFSETS_8;
        type->is_text = format[0] == 'u' || format[0] == 'U';
    } else if (format[0] == 'v' && (format[1] == 'u' || format[1] == 'z') && !format[2]) {
        type->layout = SP_LAYOUT_VIEWS;
        type->is_text = format[1] == 'u';
    } else if (format[0] == 'w' && format[1] == ':') {
        int64_t width = number(format + 2, 0, &rest);
        if (width < 0) return 0;
        type->layout = SP_LAYOUT_FIXED;
        type->width = (size_t)width;
    } else if (format[0] == 'd' && format[1] == ':') { /* precision, scale and perhaps bits */
        if (number(format + 2, ',', &rest) < 0 || strncmp(rest, ",0", 2) != 0) return 0;
        if (rest[2] && strcmp(rest + 2, ",128") != 0) return 0;
        type->layout = SP_LAYOUT_INTEGER;
        type->width = 16;
        type->is_signed = 1;
    } else if ((type->width = integer_width(format[0], &type->is_signed)) && !format[1]) {
        type->layout = SP_LAYOUT_INTEGER;
    } else {
        return 0;
    }
    return 1;
}

int sp_arrow_type_read(const struct ArrowSchema *schema, sp_arrow_type *type) {
    *type = (sp_arrow_type){0};
    if (!schema->format) return 0;
    if (!schema->dictionary) return plain_type(schema->format, type);
    type->index_width = integer_width(schema->format[0], &type->index_is_signed);
    return type->index_width && !schema->format[1] && schema->dictionary->format && !schema->dictionary->dictionary &&
           plain_type(schema->dictionary->format, type);
}

/* --- buffers --- */

static const char *open_values(sp_arrow_layout layout, const struct ArrowArray *array, sp_arrow_values *values) {
    static const int64_t buffer_counts[] = {0, 3, 3, 3, 2, 2};
    int64_t needed = buffer_counts[layout];
    *values = (sp_arrow_values){.first = array->offset, .count = array->length};
    if (!array->release) return "it was released before";
    if (array->length < 0 || array->offset < 0 || array->offset > INT64_MAX / 64 - array->length) {
        return "its length or offset is negative or too large";
    }
    if (layout == SP_LAYOUT_NULLS) return NULL;
    if (layout == SP_LAYOUT_VIEWS ? array->n_buffers < needed : array->n_buffers != needed) {
        return "it has another number of buffers than its type has";
    }
    if (!array->buffers) return "it has no buffers";
    values->validity = array->buffers[0];
    values->values = array->buffers[1];
    if (array->length && !values->values) return "a buffer is missing";
    if (layout == SP_LAYOUT_VIEWS) {
        values->view_buffers = array->buffers + 2;
        values->view_count = array->n_buffers - needed;
        values->view_sizes = array->buffers[array->n_buffers - 1];
        if (values->view_count && !values->view_sizes) return "the sizes of its buffers are missing";
    } else if (layout == SP_LAYOUT_OFFSETS_4 || layout == SP_LAYOUT_OFFSETS_8) {
        values->data = array->buffers[2];
    }
    return NULL;
}

const char *sp_arrow_column_open(sp_arrow_type type, const struct ArrowArray *array, int64_t from, int64_t rows,
                                 sp_arrow_column *column) {
    sp_arrow_values *own = type.index_width ? &column->indices : &column->values;
    *column = (sp_arrow_column){.type = type};
    const char *wrong = open_values(type.index_width ? SP_LAYOUT_INTEGER : type.layout, array, own);
    if (wrong) return wrong;
    if (from < 0 || rows < 0 || from > own->count || rows > own->count - from) {
        return "it has fewer rows than its batch";
    }
    own->first += from;
    own->count = rows;
    if (!type.index_width) return NULL;
    if (!array->dictionary) return "its dictionary is missing";
    return open_values(type.layout, array->dictionary, &column->values);
}

static int is_valid(const sp_arrow_values *values, int64_t row) {
    int64_t bit = values->first + row;
    return !values->validity || (values->validity[bit / 8] >> bit % 8 & 1);
}

int64_t sp_arrow_first_null(const struct ArrowArray *array) {
    const uint8_t *validity = array->n_buffers > 0 && array->buffers ? array->buffers[0] : NULL;
    sp_arrow_values values = {.validity = validity, .first = array->offset};
    if (!validity || array->null_count == 0) return array->length;
    int64_t row = 0;
    while (row < array->length && is_valid(&values, row)) row++;
    return row;
}

/* --- values as slices; these return how many there are before the first that is malformed --- */

/* Bytes from `start` to `end` of `data`. 0 if they are nowhere: nothing ends in the upper half of all addresses. */
static inline int cut(const uint8_t *data, uint64_t start, uint64_t end, sp_slice *out) {
    if (start > end || (end > start && (!data || end > (uint64_t)INTPTR_MAX - (uintptr_t)data))) return 0;
    *out = end > start ? (sp_slice){data + start, (size_t)(end - start)} : (sp_slice){NOTHING, 0};
    return 1;
}

static inline int64_t cut_4(const sp_arrow_values *values, int64_t from, int64_t n, sp_slice *out) {
    const uint8_t *offsets = values->values + (size_t)(values->first + from) * 4;
    int64_t start = (int32_t)sp_load32(offsets);
    for (int64_t i = 0; i < n; i++) {
        int64_t end = (int32_t)sp_load32(offsets + 4 * (i + 1));
        if (start < 0 || !cut(values->data, (uint64_t)start, (uint64_t)end, &out[i])) return i;
        start = end;
    }
    return n;
}

static int64_t cut_8(const sp_arrow_values *values, int64_t from, int64_t n, sp_slice *out) {
    const uint8_t *offsets = values->values + (size_t)(values->first + from) * 8;
    uint64_t start = sp_load64(offsets); /* one that is negative is too large */
    for (int64_t i = 0; i < n; i++) {
        uint64_t end = sp_load64(offsets + 8 * (i + 1));
        if (!cut(values->data, start, end, &out[i])) return i;
        start = end;
    }
    return n;
}

static int view(const sp_arrow_values *values, const uint8_t *at, sp_slice *out) {
    sp_binary_view it;
    memcpy(&it, at, sizeof it);
    if (it.size < 0) return 0;
    if (it.size <= SP_VIEW_INLINE) {
        *out = it.size ? (sp_slice){at + sizeof it.size, (size_t)it.size} : (sp_slice){NOTHING, 0};
        return 1;
    }
    if (it.buffer < 0 || it.buffer >= values->view_count || it.offset < 0) return 0;
    int64_t size = (int64_t)sp_load64(values->view_sizes + 8 * (size_t)it.buffer);
    if ((int64_t)it.offset + it.size > size) return 0;
    return cut(values->view_buffers[it.buffer], (uint64_t)it.offset, (uint64_t)it.offset + (uint64_t)it.size, out);
}

static int64_t cut_views(const sp_arrow_values *values, int64_t from, int64_t n, sp_slice *out) {
    const uint8_t *views = values->values + (size_t)(values->first + from) * sizeof(sp_binary_view);
    for (int64_t i = 0; i < n; i++) {
        if (!is_valid(values, from + i)) { /* whose view may hold anything */
            out[i] = (sp_slice){NULL, 0};
        } else if (!view(values, views + (size_t)i * sizeof(sp_binary_view), &out[i])) {
            return i;
        }
    }
    return n;
}

static int64_t cut_fixed(const sp_arrow_values *values, size_t width, int64_t from, int64_t n, sp_slice *out) {
    uint64_t first = (uint64_t)(values->first + from);
    for (uint64_t i = 0; i < (uint64_t)n; i++) {
        if (width && first + i >= (uint64_t)INT64_MAX / width) return (int64_t)i;
        if (!cut(values->values, (first + i) * width, (first + i + 1) * width, &out[i])) return (int64_t)i;
    }
    return n;
}

static int64_t slices(const sp_arrow_type *type, const sp_arrow_values *values, int64_t from, int64_t n,
                      sp_slice *out) {
    int64_t done = 0;
    switch (type->layout) {
    case SP_LAYOUT_NULLS:
        for (int64_t i = 0; i < n; i++) out[i] = (sp_slice){NULL, 0};
        return n;
    case SP_LAYOUT_VIEWS:
        return cut_views(values, from, n, out);
    case SP_LAYOUT_OFFSETS_4:
        done = cut_4(values, from, n, out);
        break;
    case SP_LAYOUT_OFFSETS_8:
        done = cut_8(values, from, n, out);
        break;
    case SP_LAYOUT_FIXED:
    case SP_LAYOUT_INTEGER:
        done = cut_fixed(values, type->width, from, n, out);
        break;
    }
    if (values->validity) {
        for (int64_t i = 0; i < done; i++) {
            if (!is_valid(values, from + i)) out[i] = (sp_slice){NULL, 0};
        }
    }
    return done;
}

/* A little-endian integer that is not negative. 0 if it is. */
static int load_integer(const uint8_t *at, size_t width, int is_signed, sp_hash_key *value) {
    uint8_t bytes[16] = {0};
    memcpy(bytes, at, width);
    if (is_signed && bytes[width - 1] & 0x80) return 0;
    *value = (sp_hash_key){sp_load64(bytes + 8), sp_load64(bytes)};
    return 1;
}

/* An index, or what is too large for any dictionary. */
static inline uint64_t index_at(const uint8_t *at, size_t width, int is_signed) {
    uint64_t index = 0;
    switch (width) {
    case 1:
        index = *at;
        break;
    case 2:
        index = (uint64_t)at[1] << 8 | *at;
        break;
    case 4:
        index = sp_load32(at);
        break;
    default:
        return sp_load64(at);
    }
    return is_signed && index >> (8 * width - 1) ? UINT64_MAX : index;
}

static int64_t indexed(const sp_arrow_column *column, int64_t from, int64_t n, sp_slice *out) {
    const sp_arrow_type *type = &column->type;
    const sp_arrow_values *indices = &column->indices, *values = &column->values;
    const uint8_t *at = indices->values + (size_t)(indices->first + from) * type->index_width;
    for (int64_t i = 0; i < n; i++, at += type->index_width) {
        out[i] = (sp_slice){NULL, 0};
        if (!is_valid(indices, from + i)) continue;
        uint64_t index = index_at(at, type->index_width, type->index_is_signed);
        if (index >= (uint64_t)values->count) return i;
        if (type->layout == SP_LAYOUT_OFFSETS_4 && !values->validity) { /* most dictionaries */
            if (!cut_4(values, (int64_t)index, 1, &out[i])) return i;
        } else if (!slices(type, values, (int64_t)index, 1, &out[i])) {
            return i;
        }
    }
    return n;
}

static int64_t read_column(const sp_arrow_column *column, int64_t from, int64_t n, sp_slice *out) {
    if (column->type.index_width) return indexed(column, from, n, out);
    return slices(&column->type, &column->values, from, n, out);
}

int sp_arrow_value(const sp_arrow_column *column, int64_t row, sp_slice *value) {
    return read_column(column, row, 1, value) == 1;
}

/* --- user records --- */

static int is_long_key(sp_slice key) {
    if (key.size > MAX_KEY_BYTES || !sp_is_utf8(key)) return 0;
    if (key.size <= MAX_KEY_CHARACTERS) return 1;
    size_t characters = 0;
    for (size_t i = 0; i < key.size; i++) characters += !sp_is_continuation(key.data[i]);
    return characters <= MAX_KEY_CHARACTERS;
}

static inline int is_key(sp_slice key) {
    if (key.size >= 8 && key.size <= 16) { /* most are, and ASCII */
        uint64_t bits = sp_load64(key.data) | sp_load64(key.data + key.size - 8);
        if (!(bits & 0x8080808080808080)) return 1;
    }
    return key.size && is_long_key(key);
}

static int read_hash_key(const sp_arrow_type *type, sp_slice value, sp_hash_key *hash_key) {
    if (type->layout == SP_LAYOUT_INTEGER) return load_integer(value.data, value.size, type->is_signed, hash_key);
    if (value.size > 1 && value.data[0] == '0') return 0;
    return sp_hash_key_parse(value.data, value.size, hash_key) == 0;
}

/* Does a user record fit into a Kinesis record, alone? A keyless one will have the shortest key, and an explicit hash
 * key, perhaps of the most digits. */
static int fits(sp_slice key, sp_slice data, const sp_hash_key *explicit_hash_key, size_t most) {
    uint8_t text[SP_HASH_KEY_MAX_DIGITS];
    size_t key_size = key.size ? key.size : 1;
    if (data.size > most || key_size > most - data.size) return 0;
    if (!sp_looks_aggregated(data)) return 1;
    size_t digits = key.size ? 0 : SP_HASH_KEY_MAX_DIGITS;
    if (explicit_hash_key) digits = sp_hash_key_format(*explicit_hash_key, text);
    return key_size + sp_aggregate_size_of_one(key_size, digits, data.size) <= most;
}

/* Room for the keys of a block. Those that are too long have none, and need none. */
static int reserve_keys(sp_arrow_sink *sink, const sp_slice *keys, int64_t n) {
    size_t more = 0;
    for (int64_t i = 0; i < n; i++) more += keys[i].size <= MAX_KEY_BYTES ? keys[i].size : 0;
    if (more <= sink->keys_capacity - sink->keys_size) return 1;
    uint8_t *grown = sp_grown(sink->keys, &sink->keys_capacity, sink->keys_size + more, 1, MIN_KEYS);
    if (!grown) return 0;
    sink->keys = grown;
    return 1;
}

enum { AROUND_ONE = 2 * 1024 }; /* bytes, more than enough, of a key, and around the only user record of a record */

/* A block of rows. Those of which no explicit hash key was `given` have none. Returns how many are fine; the fault of
 * the first that is not goes to `fault`. */
static int64_t take(sp_arrow_sink *sink, const sp_slice *keys, const sp_slice *datas, const sp_hash_key *given,
                    const uint8_t *is_given, int64_t n, void *owner, sp_rows_fault *fault) {
    /* what is written to might be the sink itself, for all the compiler knows */
    const size_t at = sink->count, most = sink->max_record_bytes;
    const sp_slice *const keys_end = keys + n;
    uint8_t *key_end = sink->keys + sink->keys_size;
    uint16_t *key_sizes = sink->key_sizes + at;
    const uint8_t **starts = sink->datas + at;
    uint32_t *sizes = sink->data_sizes + at;
    void **owners = sink->owners + at;
    size_t data_size = 0, keyless = 0;
    int64_t i = 0;
    for (; keys != keys_end; keys++, i++) {
        sp_slice key = *keys, data = datas[i];
        *fault = SP_ROWS_BAD_KEY;
        if (key.data && !is_key(key)) break;
        *fault = SP_ROWS_BAD_EXPLICIT_HASH_KEY;
        if (!key.data && is_given[i]) break;
        *fault = SP_ROWS_NO_DATA;
        if (!data.data) break;
        *fault = SP_ROWS_TOO_LARGE;
        if (data.size + AROUND_ONE > most && !fits(key, data, is_given[i] ? &given[i] : NULL, most)) break;
        sp_copy_short(key_end, key);
        key_end += key.size;
        key_sizes[i] = (uint16_t)key.size;
        starts[i] = data.data;
        sizes[i] = (uint32_t)data.size;
        owners[i] = owner;
        data_size += data.size;
        keyless += !key.data;
    }
    if (sink->has_explicit_hash_key) {
        memcpy(sink->has_explicit_hash_key + at, is_given, (size_t)i);
        memcpy(sink->explicit_hash_keys + at, given, (size_t)i * sizeof *given);
    }
    sink->keys_size = (size_t)(key_end - sink->keys);
    sink->data_size += data_size;
    sink->keyless += keyless;
    sink->count = at + (size_t)i;
    return i;
}

/* The explicit hash keys of rows from `from` on. Returns how many are fine, or null. */
static int64_t read_hash_keys(const sp_arrow_column *column, int64_t from, int64_t n, sp_hash_key *given,
                              uint8_t *is_given, sp_rows_fault *fault) {
    sp_slice texts[BLOCK];
    int64_t read = read_column(column, from, n, texts);
    for (int64_t i = 0; i < read; i++) {
        is_given[i] = texts[i].data != NULL;
        if (is_given[i] && !read_hash_key(&column->type, texts[i], &given[i])) {
            *fault = SP_ROWS_BAD_EXPLICIT_HASH_KEY;
            return i;
        }
    }
    *fault = SP_ROWS_EXPLICIT_HASH_KEY_MALFORMED; /* if any */
    return read;
}

sp_rows_fault sp_arrow_rows_take(sp_arrow_chunk *chunk, sp_arrow_sink *sink, int64_t *row) {
    sp_slice keys[BLOCK], datas[BLOCK];
    sp_hash_key given[BLOCK];
    uint8_t is_given[BLOCK];
    size_t before = sink->data_size;
    memset(keys, 0, sizeof keys);
    memset(is_given, 0, sizeof is_given);
    memset(given, 0, sizeof given);
    for (int64_t from = 0; from < chunk->rows; from += BLOCK) {
        int64_t n = chunk->rows - from < BLOCK ? chunk->rows - from : BLOCK, fine = n, read;
        sp_rows_fault fault = SP_ROWS_KEY_MALFORMED, its; /* that of row `fine`: the first one that has any */
        if (chunk->has_key) fine = read_column(&chunk->key, from, n, keys);
        if ((read = read_column(&chunk->data, from, fine, datas)) < fine) fine = read, fault = SP_ROWS_DATA_MALFORMED;
        if (chunk->has_explicit_hash_key &&
            (read = read_hash_keys(&chunk->explicit_hash_key, from, fine, given, is_given, &its)) < fine) {
            fine = read, fault = its;
        }
        if (!reserve_keys(sink, keys, fine)) fine = 0, fault = SP_ROWS_NO_MEMORY;
        if ((read = take(sink, keys, datas, given, is_given, fine, chunk->owner, &its)) < fine)
            fine = read, fault = its;
        if (fine < n) {
            *row = from + fine;
            return fault;
        }
    }
    chunk->size = sink->data_size - before;
    return SP_ROWS_TAKEN;
}
