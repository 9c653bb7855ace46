/* Hand columns to Arrow: describe them once, export them as often as somebody asks.
 *
 * A batch of rows is a struct array with a child for each column. Consumers may move any child out of its parent and
 * keep it after the parent is released, on any thread: so every array, child or dictionary, has a block of memory of
 * its own and holds what owns the buffers. The last of them lets go of it.
 */
#ifndef SP_ARROW_H
#define SP_ARROW_H

#include <stddef.h>

#include "arrow_abi.h"

/* What a column is called and holds. Strings are static. Formats are the specification's: "i" int32, "U" text with
 * offsets of 64 bits, and so on. With a dictionary, `format` is that of the indices. */
typedef struct {
    const char *name;
    const char *format;
    const char *dictionary_format; /* NULL without a dictionary */
    int nullable;
} sp_arrow_field;

/* The rows of a column, or the entries of a dictionary. `buffers[0]` is the validity bitmap, or NULL where no row is
 * null; then come values, or offsets and bytes. A column of views has more than three buffers: `many` are all of them,
 * which the owner keeps. */
typedef struct {
    int64_t length, null_count, n_buffers;
    const void *buffers[3];
    const void **many; /* or NULL */
} sp_arrow_rows;

typedef struct {
    sp_arrow_rows rows;
    sp_arrow_rows dictionary; /* where the field has one */
} sp_arrow_column;

/* Who keeps the buffers: `let_go` is called once, when nothing that was exported refers to them any more. */
typedef struct {
    void (*let_go)(void *keeper);
    void *keeper;
} sp_arrow_owner;

/* Write a batch's schema, its arrays, or a stream of the one batch. Returns 1; or 0 without memory, with nothing
 * written and `let_go` never called. Fields and columns are read while the function runs; a stream reads `fields`
 * as long as it lives. */
int sp_arrow_export_schema(const sp_arrow_field *fields, size_t n, struct ArrowSchema *out);
int sp_arrow_export_array(const sp_arrow_field *fields, const sp_arrow_column *columns, size_t n, int64_t rows,
                          sp_arrow_owner owner, struct ArrowArray *out);
int sp_arrow_export_stream(const sp_arrow_field *fields, const sp_arrow_column *columns, size_t n, int64_t rows,
                           sp_arrow_owner owner, struct ArrowArrayStream *out);

#endif
