/* One record of a message, whatever is in it: fields in any order, again and again, unknown ones, tags.
 *
 * The long way to read it. That most records need no such reader is deaggregate.c's.
 */
#ifndef SP_WIRE_RECORD_H
#define SP_WIRE_RECORD_H

#include "varint.h"

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

#define SP_FIELD_TAG(number, wire_type) ((number) << 3 | (wire_type))

enum { SP_IN_MESSAGE = 0, SP_IN_RECORD = 1, SP_IN_TAG = 2 };

/* Skip the content of an unknown field: 1, or 0 where it does not parse. `level` says how many messages are around the
 * field already. */
int sp_skip_field(sp_cursor *in, uint32_t tag, unsigned level);

/* What a record's fields say, as wide as they say it. */
typedef struct {
    uint64_t partition_key_index, explicit_hash_key_index;
    sp_slice data;
    uint32_t tag_count;
    int has_partition_key_index, has_explicit_hash_key_index, has_data;
} sp_wire_fields;

/* Read the content of a record field. `at` follows, so that it says where a bad field starts. */
sp_verdict sp_read_wire_fields(sp_slice content, sp_wire_fields *found, const uint8_t **at);

/* The tags of an indexed record, in order, into `tags[record->tag_count]`. */
void sp_record_tags(sp_slice message, const sp_wire_record *record, sp_wire_tag *tags);

#endif
