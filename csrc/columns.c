#include "columns.h"

#include <stdlib.h>
#include <string.h>

enum { ROWS_AT_FIRST = 256 };

/* Make room for so many rows in all, and move there the `rows` there are. */
static sp_filled lay_out(sp_filling *filling, size_t rows, size_t capacity) {
    sp_columns *columns = &filling->columns;
    const sp_columns old = *columns;
    size_t where_size = sp_where_size(filling);
    if (rows >= INT32_MAX) return SP_TOO_MANY_ROWS;
    if (capacity > INT32_MAX) capacity = INT32_MAX;
    uint8_t *memory = malloc(where_size + (where_size + 4 * sizeof(int32_t)) * capacity);
    if (!memory) return SP_NO_MEMORY;
    if (filling->viewed) {
        columns->views = (sp_binary_view *)(void *)memory;
    } else {
        columns->offsets = (int64_t *)(void *)memory;
    }
    columns->partition_key_indices = (int32_t *)(void *)(memory + where_size * (capacity + 1));
    columns->explicit_hash_key_indices = columns->partition_key_indices + capacity;
    columns->sub_sequence_numbers = columns->explicit_hash_key_indices + capacity;
    columns->parents = columns->sub_sequence_numbers + capacity;
    if (rows) {
        size_t size = rows * sizeof(int32_t);
        memcpy(memory, filling->rows, where_size * rows);
        memcpy(columns->partition_key_indices, old.partition_key_indices, size);
        memcpy(columns->explicit_hash_key_indices, old.explicit_hash_key_indices, size);
        memcpy(columns->sub_sequence_numbers, old.sub_sequence_numbers, size);
        memcpy(columns->parents, old.parents, size);
    }
    free(filling->rows);
    filling->rows = memory;
    filling->capacity = capacity;
    return SP_FILLED;
}

/* No more bytes than these become data: of what was unpacked the message, or where that is malformed, the record. */
static size_t size_of(const sp_received *received) {
    return received->message.size > received->data.size ? received->message.size : received->data.size;
}

/* How many rows there are after so many bytes, if they are as many to a byte as so far. */
static size_t foreseen(const sp_filling *filling, double size) {
    return filling->done > 0 ? (size_t)((double)filling->columns.count * (size / filling->done)) : 0;
}

static sp_filled foresee(sp_filling *filling, double size) {
    size_t soon = foreseen(filling, filling->done + size);
    if (soon <= filling->capacity) return SP_FILLED;
    /* some more than foreseen; but a few dense records first do not decide about all */
    size_t all = foreseen(filling, 1.06 * filling->size);
    return lay_out(filling, filling->columns.count, all < 16 * soon ? all : 16 * soon);
}

/* Append the user records of a verified message, or none where it is not well-formed. */
static sp_filled put_message(sp_filling *filling, sp_slice message, sp_contents *contents) {
    sp_columns *columns = &filling->columns;
    sp_walk *walk = &contents->walk;
    sp_finding finding;
    sp_outcome outcome;
    size_t size_before = columns->size;
    if (!sp_walk_begin(walk, message)) return SP_NO_MEMORY;
    for (;;) {
        walk->room.records = (uint32_t)(filling->capacity - columns->count);
        outcome = sp_walk_columns(walk, columns, &finding);
        if (outcome != SP_NO_ROOM) break;
        if (!sp_walk_make_room(walk)) return SP_NO_MEMORY;
        if (walk->found.records == walk->room.records) {
            sp_filled filled = lay_out(filling, filling->capacity, 2 * filling->capacity);
            if (filled != SP_FILLED) return filled;
        }
    }
    if (outcome == SP_FAULT) {
        columns->size = size_before;
        sp_contents_free(contents);
        return SP_FILLED;
    }
    if (walk->found.partition_keys > (uint32_t)INT32_MAX - (uint32_t)columns->first_partition_key ||
        walk->found.explicit_hash_keys > (uint32_t)INT32_MAX - (uint32_t)columns->first_explicit_hash_key) {
        return SP_TOO_MANY_KEYS;
    }
    columns->first_partition_key += (int32_t)walk->found.partition_keys;
    columns->first_explicit_hash_key += (int32_t)walk->found.explicit_hash_keys;
    contents->kind = SP_AGGREGATED;
    return SP_FILLED;
}

/* Append a Kinesis record as the one user record it is. */
static sp_filled put_whole_record(sp_filling *filling, const sp_received *received) {
    sp_slice data = received->data;
    sp_columns *columns = &filling->columns;
    size_t row = columns->count;
    if (row == filling->capacity) {
        sp_filled filled = lay_out(filling, row, 2 * filling->capacity);
        if (filled != SP_FILLED) return filled;
    }
    if (columns->first_partition_key == INT32_MAX || columns->first_explicit_hash_key == INT32_MAX) {
        return SP_TOO_MANY_KEYS;
    }
    if (filling->viewed) {
        columns->views[row] = sp_binary_view_of(data, columns->parent, 0);
    } else {
        columns->offsets[row] = (int64_t)columns->size;
        if (data.size) memcpy(columns->data + columns->size, data.data, data.size);
        columns->size += data.size;
    }
    columns->partition_key_indices[row] = columns->first_partition_key++;
    columns->explicit_hash_key_indices[row] = received->has_explicit_hash_key ? columns->first_explicit_hash_key++ : -1;
    columns->sub_sequence_numbers[row] = 0;
    columns->parents[row] = columns->parent;
    columns->count++;
    return SP_FILLED;
}

static sp_filled put(sp_filling *filling, const sp_received *received, sp_slice message, sp_md5_many_fn *md5_many,
                     const sp_hash_range *range, sp_contents *contents) {
    sp_filled filled = SP_FILLED;
    if (message.size && range) {
        if (!sp_contents_read_verified(received, message, md5_many, range, contents)) return SP_NO_MEMORY;
        if (contents->kind == SP_LEFT_OUT) return SP_FILLED;
        if (contents->kind != SP_AGGREGATED) message.size = 0;
        sp_contents_free(contents);
    }
    filled = foresee(filling, (double)size_of(received));
    if (filled == SP_FILLED && message.size) {
        filled = put_message(filling, message, contents);
        if (filled == SP_FILLED && contents->kind != SP_AGGREGATED &&
            !sp_contents_read_verified(received, message, md5_many, NULL, contents)) { /* which says what is wrong */
            return SP_NO_MEMORY;
        }
    }
    if (filled == SP_FILLED && contents->kind != SP_AGGREGATED) filled = put_whole_record(filling, received);
    filling->columns.parent++;
    filling->done += (double)size_of(received);
    return filled;
}

sp_filled sp_columns_fill(sp_filling *filling, const sp_received *received, size_t n, sp_md5_many_fn *md5_many,
                          const sp_hash_range *range, sp_contents *contents) {
    sp_columns *columns = &filling->columns;
    sp_verified verified;
    size_t size = 0;
    for (size_t i = 0; i < n; i++) size += size_of(&received[i]);
    if (n >= INT32_MAX) return SP_TOO_MANY_ROWS;
    filling->size = (double)size;
    if (!filling->viewed && !(columns->data = malloc(size + SP_COPY_SLACK))) return SP_NO_MEMORY;
    sp_filled filled = lay_out(filling, 0, n + ROWS_AT_FIRST);
    for (size_t done = 0; done < n; done += verified.count) {
        sp_verify(received + done, n - done, md5_many, &verified);
        for (size_t i = done; i < done + verified.count && filled == SP_FILLED; i++) {
            sp_slice message = verified.messages[i - done];
            filled = put(filling, &received[i], message, md5_many, range, &contents[i]);
        }
        if (filled != SP_FILLED) return filled;
    }
    if (filling->capacity > columns->count + columns->count / 8 + 512) { /* foreseen too many */
        filled = lay_out(filling, columns->count, columns->count);
    }
    if (filled == SP_FILLED && !filling->viewed) columns->offsets[columns->count] = (int64_t)columns->size;
    return filled;
}
