/* Take an aggregated record apart: check the frame, then walk the message.
 *
 * The input is what strangers wrote. No read leaves it, nothing recurses, and what is found is bounded
 * by its size: a table entry costs at least 2 bytes of message, a record at least 6.
 *
 *     sp_frame         magic and length: where message and digest are (the MD5 is the caller's)
 *     sp_walk_records  validate every field; the tables, and where in the message each record is
 *     sp_walk_columns  the same, but the records go straight into columns, their payload copied or viewed where it is
 *
 * Parses exactly what proto2 `AggregatedRecord` parses (grammar: aggregate.h): fields in any order,
 * unknown fields and groups skipped, the last of a repeated scalar wins, required fields demanded,
 * a known field with another wire type is unknown.
 */
#ifndef SP_DEAGGREGATE_H
#define SP_DEAGGREGATE_H

#include "aggregate.h"
#include "binary_view.h"
#include "hash_key.h"
#include "wire_record.h"

enum { SP_MIN_AGGREGATE_SIZE = SP_MAGIC_SIZE + 1 + SP_TRAILER_SIZE };

typedef struct {
    uint32_t partition_keys, explicit_hash_keys, records;
} sp_message_counts;

typedef struct {
    sp_verdict verdict;
    size_t offset; /* in the message: the first byte of the field at fault */
    size_t record; /* the index of the record at fault, where the verdict is about one */
} sp_finding;

/* Does `blob` have magic, digest and at least one byte between? Then where the message is: 1. Else 0. */
int sp_frame(sp_slice blob, sp_slice *message);

/* A walk through a message. How much it holds shows on the way: where there is `room` for no more, the walk stops, and
 * goes on when the caller has made room. Starts with everything 0 but `message`, the tables and `room`. */
typedef struct {
    sp_slice message;
    size_t walked; /* bytes of it so far */
    sp_span *partition_keys, *explicit_hash_keys;
    sp_message_counts found, room;
} sp_walk;

typedef enum {
    SP_WALKED,  /* all of it, and it is well-formed */
    SP_NO_ROOM, /* of one kind there are as many as there is room for: more is needed, for at least one of each */
    SP_FAULT,   /* see the finding */
} sp_outcome;

/* Records into an array with room for `walk->room.records`. Malformed verdicts leave it filled, and indices over
 * 2^32-2 read as that. */
sp_outcome sp_walk_records(sp_walk *walk, sp_wire_record *records, sp_finding *finding);

/* Columns of user records, message after message. With `views` each row's payload stays in the message, which is the
 * buffer of number `parent`. Without, payloads are copied: `data` has room for all and SP_COPY_SLACK bytes more. */
typedef struct {
    sp_binary_view *views; /* or NULL */
    int64_t *offsets;      /* of each row's data; the end of the last is the caller's to write */
    int32_t *partition_key_indices, *explicit_hash_key_indices;
    int32_t *sub_sequence_numbers, *parents;
    uint8_t *data;
    size_t count; /* rows of the messages before */
    size_t size;  /* bytes of data so far */
    /* of this message: what its indices are counted from, and its own number */
    int32_t first_partition_key, first_explicit_hash_key, parent;
} sp_columns;

enum { SP_COPY_SLACK = 32 };

/* Records into the rows from `columns->count` on, of which there is room for `walk->room.records`; `count` moves on
 * when all is well. On SP_FAULT, `size` is the caller's to put back, and sp_walk_records says what is wrong. */
sp_outcome sp_walk_columns(sp_walk *walk, sp_columns *columns, sp_finding *finding);

#endif
