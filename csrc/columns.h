/* Columns that Kinesis records fill, and that grow as they do.
 *
 * Records are verified a few at a time and become rows while the cache still holds them, so how many rows there will be
 * is known at the end. It is foreseen from how many there are so far; where that was too few, room is made again.
 */
#ifndef SP_COLUMNS_H
#define SP_COLUMNS_H

#include "contents.h"

typedef enum {
    SP_FILLED,
    SP_NO_MEMORY,
    SP_TOO_MANY_ROWS, /* 2^31 and more */
    SP_TOO_MANY_KEYS, /* of either kind */
} sp_filled;

/* What `columns` point to is two allocations, the caller's to free. */
typedef struct {
    sp_columns columns;
    uint8_t *rows;     /* all columns but data, one behind the other, each for `capacity` rows */
    size_t capacity;   /* offsets have one more */
    double size, done; /* bytes of Kinesis records, unpacked: of all, and of those that are rows already */
    int viewed;        /* payloads stay in their Kinesis records */
} sp_filling;

/* Append the user records of n Kinesis records to columns that are zero but for `viewed`. A record that is not
 * aggregated becomes one row, of sub-sequence number 0, and has a place of its own in the table of partition keys, as
 * if each had one; and in that of explicit hash keys where it has one. Those that the range leaves out have
 * no row and are no parent: rows count parents without them. `contents` as in sp_contents_read, but without records. */
sp_filled sp_columns_fill(sp_filling *filling, const sp_received *received, size_t n, sp_md5_many_fn *md5_many,
                          const sp_hash_range *range, sp_contents *contents);

/* Bytes a row takes to say where its data is. */
static inline size_t sp_where_size(const sp_filling *filling) {
    return filling->viewed ? sizeof(sp_binary_view) : sizeof(int64_t);
}

#endif
