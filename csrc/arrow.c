#include "arrow.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

/* --- schemas --- */

/* What one schema owns: its children and dictionary, which a consumer may move out. */
typedef struct {
    struct ArrowSchema dictionary;
    struct ArrowSchema *nodes;
    struct ArrowSchema **children;
} schema_block;

static void release_schema(struct ArrowSchema *schema) {
    schema_block *block = schema->private_data;
    for (int64_t i = 0; i < schema->n_children; i++) {
        if (schema->children[i]->release) schema->children[i]->release(schema->children[i]);
    }
    if (schema->dictionary && schema->dictionary->release) schema->dictionary->release(schema->dictionary);
    free(block->children);
    free(block->nodes);
    free(block);
    schema->release = NULL;
}

static int make_schema(const char *format, const char *name, int nullable, size_t children, struct ArrowSchema *out) {
    schema_block *block = calloc(1, sizeof *block);
    if (!block) return 0;
    *out = (struct ArrowSchema){
        .format = format,
        .name = name,
        .flags = nullable ? ARROW_FLAG_NULLABLE : 0,
        .release = release_schema,
        .private_data = block,
    };
    if (children == 0) return 1;
    block->nodes = calloc(children, sizeof *block->nodes);
    block->children = calloc(children, sizeof(struct ArrowSchema *));
    if (!block->nodes || !block->children) {
        release_schema(out);
        return 0;
    }
    for (size_t i = 0; i < children; i++) block->children[i] = &block->nodes[i];
    out->n_children = (int64_t)children;
    out->children = block->children;
    return 1;
}

int sp_arrow_export_schema(const sp_arrow_field *fields, size_t n, struct ArrowSchema *out) {
    struct ArrowSchema made;
    if (!make_schema("+s", "", 0, n, &made)) return 0;
    for (size_t i = 0; i < n; i++) {
        const sp_arrow_field *field = &fields[i];
        struct ArrowSchema *child = made.children[i];
        int done = make_schema(field->format, field->name, field->nullable, 0, child);
        if (done && field->dictionary_format) {
            schema_block *block = child->private_data;
            done = make_schema(field->dictionary_format, "", 0, 0, &block->dictionary);
            if (done) child->dictionary = &block->dictionary;
        }
        if (!done) {
            release_schema(&made);
            return 0;
        }
    }
    *out = made;
    return 1;
}

/* --- arrays --- */

/* The owner, counted: one for each array that refers to its buffers. */
typedef struct {
    atomic_size_t references;
    sp_arrow_owner owner;
} shared_owner;

static void drop(shared_owner *shared) {
    if (atomic_fetch_sub_explicit(&shared->references, 1, memory_order_acq_rel) != 1) return;
    if (shared->owner.let_go) shared->owner.let_go(shared->owner.keeper);
    free(shared);
}

/* What one array owns. */
typedef struct {
    shared_owner *shared;
    const void *buffers[3];
    struct ArrowArray dictionary;
    struct ArrowArray *nodes;
    struct ArrowArray **children;
} array_block;

static void release_array(struct ArrowArray *array) {
    array_block *block = array->private_data;
    for (int64_t i = 0; i < array->n_children; i++) {
        if (array->children[i]->release) array->children[i]->release(array->children[i]);
    }
    if (array->dictionary && array->dictionary->release) array->dictionary->release(array->dictionary);
    drop(block->shared);
    free(block->children);
    free(block->nodes);
    free(block);
    array->release = NULL;
}

static int make_array(const sp_arrow_rows *rows, size_t children, shared_owner *shared, struct ArrowArray *out) {
    array_block *block = calloc(1, sizeof *block);
    if (!block) return 0;
    block->shared = shared;
    atomic_fetch_add_explicit(&shared->references, 1, memory_order_relaxed);
    for (int i = 0; i < 3; i++) block->buffers[i] = rows->buffers[i];
    *out = (struct ArrowArray){
        .length = rows->length,
        .null_count = rows->null_count,
        .n_buffers = rows->n_buffers,
        .buffers = rows->many ? rows->many : block->buffers,
        .release = release_array,
        .private_data = block,
    };
    if (children == 0) return 1;
    block->nodes = calloc(children, sizeof *block->nodes);
    block->children = calloc(children, sizeof(struct ArrowArray *));
    if (!block->nodes || !block->children) {
        release_array(out);
        return 0;
    }
    for (size_t i = 0; i < children; i++) block->children[i] = &block->nodes[i];
    out->n_children = (int64_t)children;
    out->children = block->children;
    return 1;
}

static int make_batch(const sp_arrow_field *fields, const sp_arrow_column *columns, size_t n, int64_t rows,
                      shared_owner *shared, struct ArrowArray *out) {
    const sp_arrow_rows batch = {.length = rows, .n_buffers = 1};
    if (!make_array(&batch, n, shared, out)) return 0;
    for (size_t i = 0; i < n; i++) {
        struct ArrowArray *child = out->children[i];
        int done = make_array(&columns[i].rows, 0, shared, child);
        if (done && fields[i].dictionary_format) {
            array_block *block = child->private_data;
            done = make_array(&columns[i].dictionary, 0, shared, &block->dictionary);
            if (done) child->dictionary = &block->dictionary;
        }
        if (!done) {
            release_array(out);
            return 0;
        }
    }
    return 1;
}

int sp_arrow_export_array(const sp_arrow_field *fields, const sp_arrow_column *columns, size_t n, int64_t rows,
                          sp_arrow_owner owner, struct ArrowArray *out) {
    struct ArrowArray made;
    shared_owner *shared = calloc(1, sizeof *shared);
    if (!shared) return 0;
    atomic_init(&shared->references, 1); /* ours, while this runs */
    int done = make_batch(fields, columns, n, rows, shared, &made);
    if (done) {
        shared->owner = owner; /* only now: what failed lets go of nothing */
        *out = made;
    }
    drop(shared);
    return done;
}

/* --- a stream of one batch --- */

typedef struct {
    const sp_arrow_field *fields;
    size_t n;
    struct ArrowArray batch; /* until it is asked for */
} stream_block;

static int get_schema(struct ArrowArrayStream *stream, struct ArrowSchema *out) {
    const stream_block *block = stream->private_data;
    return sp_arrow_export_schema(block->fields, block->n, out) ? 0 : ENOMEM;
}

static int get_next(struct ArrowArrayStream *stream, struct ArrowArray *out) {
    stream_block *block = stream->private_data;
    *out = block->batch; /* the second time it is a released one: the end */
    block->batch.release = NULL;
    return 0;
}

static const char *get_last_error(struct ArrowArrayStream *stream) {
    (void)stream;
    return NULL;
}

static void release_stream(struct ArrowArrayStream *stream) {
    stream_block *block = stream->private_data;
    if (block->batch.release) block->batch.release(&block->batch);
    free(block);
    stream->release = NULL;
}

int sp_arrow_export_stream(const sp_arrow_field *fields, const sp_arrow_column *columns, size_t n, int64_t rows,
                           sp_arrow_owner owner, struct ArrowArrayStream *out) {
    stream_block *block = calloc(1, sizeof *block);
    if (!block) return 0;
    if (!sp_arrow_export_array(fields, columns, n, rows, owner, &block->batch)) {
        free(block);
        return 0;
    }
    block->fields = fields;
    block->n = n;
    *out = (struct ArrowArrayStream){
        .get_schema = get_schema,
        .get_next = get_next,
        .get_last_error = get_last_error,
        .release = release_stream,
        .private_data = block,
    };
    return 1;
}
