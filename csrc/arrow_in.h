/* User records out of Arrow: columns of others, read through the C data interface.
 *
 *     sp_arrow_type_read      which layout a column has, once for all its chunks
 *     sp_arrow_column_open    the buffers of one chunk of it
 *     sp_arrow_rows_take      the rows of a chunk, each checked, to where user records wait
 *
 * Keys are copied, and payloads stay where they are; of both, places and sizes are read once, and never again: whoever
 * writes to the buffers afterwards changes payloads, and no bounds.
 *
 * What is checked: that all buffers are there, that offsets rise from 0, that views and indices lie in what they point
 * into, that no address overflows. What cannot be: the interface does not say how long buffers are, but for those that
 * views point into. That a column has the rows, and its data the bytes, that its producer says, is taken on trust, as
 * every consumer of the interface does.
 * Source: the Arrow columnar format, and its C data interface.
 */
#ifndef SP_ARROW_IN_H
#define SP_ARROW_IN_H

#include "arrow_abi.h"
#include "hash_key.h"
#include "slice.h"

typedef enum {
    SP_LAYOUT_NULLS,     /* nothing but nulls, and no buffers */
    SP_LAYOUT_OFFSETS_4, /* strings or bytes, between offsets of so many bytes */
    SP_LAYOUT_OFFSETS_8,
    SP_LAYOUT_VIEWS,   /* strings or bytes, each where its view says */
    SP_LAYOUT_FIXED,   /* bytes, equally many each */
    SP_LAYOUT_INTEGER, /* little-endian, of `width` bytes */
} sp_arrow_layout;

typedef struct {
    sp_arrow_layout layout;
    size_t width; /* of a fixed size, or of an integer */
    int is_signed;
    int is_text;
    size_t index_width; /* of the indices into a dictionary; 0 without one */
    int index_is_signed;
} sp_arrow_type;

/* Where values lie. */
typedef struct {
    const uint8_t *validity; /* bits, or NULL: all are valid */
    const uint8_t *values;   /* offsets, views or the values themselves */
    const uint8_t *data;     /* of offsets */
    const void *const *view_buffers;
    const uint8_t *view_sizes; /* int64 each */
    int64_t view_count;
    int64_t first; /* the first row is this one of the buffers' */
    int64_t count; /* of rows */
} sp_arrow_values;

/* A column of one chunk. */
typedef struct {
    sp_arrow_type type;
    sp_arrow_values values; /* the rows', or the dictionary's */
    sp_arrow_values indices;
} sp_arrow_column;

/* Read a column's type: 1, or 0 for one that is not read here. */
int sp_arrow_type_read(const struct ArrowSchema *schema, sp_arrow_type *type);

/* Find `rows` rows of an array from `from` on. NULL, or what is wrong with it. The array stays the caller's. */
const char *sp_arrow_column_open(sp_arrow_type type, const struct ArrowArray *array, int64_t from, int64_t rows,
                                 sp_arrow_column *column);

/* The first row of a struct array that is null; its length if none is. `wrong` as above. */
int64_t sp_arrow_first_null(const struct ArrowArray *array);

/* A chunk, whose columns may be one and the same. */
typedef struct {
    int64_t rows;
    int has_key, has_explicit_hash_key;
    sp_arrow_column key, data, explicit_hash_key;
    void *owner; /* of the data */
    size_t size; /* bytes of the data, once it was taken */
} sp_arrow_chunk;

/* Where user records go. There is room for them, and for what is known of their keys. */
typedef struct {
    size_t max_record_bytes;
    size_t count;  /* of those that were taken */
    uint8_t *keys; /* grows */
    size_t keys_size, keys_capacity;
    uint16_t *key_sizes; /* 0: it has none */
    const uint8_t **datas;
    uint32_t *data_sizes;
    void **owners;
    uint8_t *has_explicit_hash_key; /* NULL where there is none anywhere */
    sp_hash_key *explicit_hash_keys;
    size_t data_size, keyless;
} sp_arrow_sink;

typedef enum {
    SP_ROWS_TAKEN,
    SP_ROWS_NO_MEMORY,
    SP_ROWS_BAD_KEY,               /* empty, too long, or no UTF-8 */
    SP_ROWS_NO_DATA,               /* null */
    SP_ROWS_TOO_LARGE,             /* record */
    SP_ROWS_BAD_EXPLICIT_HASH_KEY, /* none, or one where there is no key */
    SP_ROWS_KEY_MALFORMED,         /* offsets, a view or an index of the column */
    SP_ROWS_DATA_MALFORMED,
    SP_ROWS_EXPLICIT_HASH_KEY_MALFORMED,
} sp_rows_fault;

/* Take the rows of a chunk. A fault is that of row `*row`; the sink may have taken some rows before it. */
sp_rows_fault sp_arrow_rows_take(sp_arrow_chunk *chunk, sp_arrow_sink *sink, int64_t *row);

/* One value of a column, for what is said about it: 1, 0 where it is malformed. That of a null has no address. */
int sp_arrow_value(const sp_arrow_column *column, int64_t row, sp_slice *value);

#endif
