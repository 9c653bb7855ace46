/* Take an aggregated record apart: check the frame, count, then index.
 *
 * The input is what strangers wrote. No read leaves it, nothing recurses, and what is found is bounded
 * by its size: a table entry costs at least 2 bytes of message, a record at least 6.
 *
 *     sp_frame            magic and length: where message and digest are (the MD5 is the caller's)
 *     sp_message_count    walk the top level: how many entries of each kind
 *     sp_message_index    walk it all: validate every field, fill the caller's arrays
 *
 * Parses exactly what proto2 `AggregatedRecord` parses (grammar: aggregate.h): fields in any order,
 * unknown fields and groups skipped, the last of a repeated scalar wins, required fields demanded,
 * a known field with another wire type is unknown.
 */
#ifndef SP_DEAGGREGATE_H
#define SP_DEAGGREGATE_H

#include "aggregate.h"
#include "hash_key.h"

enum { SP_MIN_AGGREGATE_SIZE = SP_MAGIC_SIZE + 1 + SP_TRAILER_SIZE };

typedef struct {
    uint32_t partition_keys, explicit_hash_keys, records;
} sp_message_counts;

/* Where something is in the message. Messages are shorter than 2^31, protobuf's own limit. */
typedef struct {
    uint32_t offset, size;
} sp_span;

static inline sp_slice sp_span_of(sp_slice message, sp_span span) {
    return (sp_slice){message.data + span.offset, span.size};
}

/* A record of the message. */
typedef struct {
    sp_span data;
    uint32_t partition_key_index;
    uint32_t explicit_hash_key_index; /* SP_NO_INDEX without one */
    uint32_t field;                   /* the offset of the record field, behind its tag: for its tags */
    uint32_t tag_count;
} sp_wire_record;

typedef struct {
    sp_slice key, value;
    int has_value;
} sp_wire_tag;

typedef enum {
    SP_WELL_FORMED = 0,
    /* not a protobuf AggregatedRecord: the record is not aggregated */
    SP_BAD_FIELD,                   /* a tag, length, varint or group that does not parse */
    SP_MISSING_PARTITION_KEY_INDEX, /* required, absent */
    SP_MISSING_DATA,                /* required, absent */
    SP_MISSING_TAG_KEY,             /* required, absent */
    /* parses, but cannot be what its writer meant: malformed */
    SP_PARTITION_KEY_INDEX_RANGE,     /* not in the table */
    SP_EXPLICIT_HASH_KEY_INDEX_RANGE, /* not in the table */
    SP_BAD_EXPLICIT_HASH_KEY,         /* not a decimal number below 2^128 */
} sp_verdict;

typedef struct {
    sp_verdict verdict;
    size_t offset; /* in the message: the first byte of the field at fault */
    size_t record; /* the index of the record at fault, where the verdict is about one */
} sp_finding;

/* Does `blob` have magic, digest and at least one byte between? Then where the message is: 1. Else 0. */
int sp_frame(sp_slice blob, sp_slice *message);

/* Count the entries of each kind. Returns 0 where the top level does not parse; `finding` says why. */
int sp_message_count(sp_slice message, sp_message_counts *counts, sp_finding *finding);

/* Validate the message and fill arrays of exactly the sizes counted. Returns 1 when all is well; else 0
 * and `finding`. Malformed verdicts leave the arrays filled; indices over 2^32-2 read as that. */
int sp_message_index(sp_slice message, sp_span *partition_keys, sp_span *explicit_hash_keys, sp_wire_record *records,
                     sp_finding *finding);

/* The tags of an indexed record, in order, into `tags[record->tag_count]`. */
void sp_record_tags(sp_slice message, const sp_wire_record *record, sp_wire_tag *tags);

#endif
