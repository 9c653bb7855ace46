#include "deaggregate.h"

#include <string.h>

enum { MAX_DEPTH = 100 }; /* protobuf's own limit on messages and groups inside one another */
enum { IN_MESSAGE = 0, IN_RECORD = 1, IN_TAG = 2 };

#define TAG(number, wire_type) ((number) << 3 | (wire_type))

/* Skip the content of an unknown field. Groups nest, so the open ones are kept on a small stack. `level` says how
 * many messages are around the field already. */
static int skip_field(sp_cursor *in, uint32_t tag, unsigned level) {
    uint32_t open[MAX_DEPTH];
    unsigned depth = 0;
    for (;;) {
        uint64_t varint;
        sp_slice bytes;
        switch (tag & 7) {
        case SP_WIRE_VARINT:
            if (!sp_read_varint(in, &varint)) return 0;
            break;
        case SP_WIRE_FIXED64:
            if (!sp_skip_bytes(in, 8)) return 0;
            break;
        case SP_WIRE_BYTES:
            if (!sp_read_bytes(in, &bytes)) return 0;
            break;
        case SP_WIRE_GROUP:
            if (level + depth == MAX_DEPTH) return 0;
            open[depth++] = tag >> 3;
            break;
        case SP_WIRE_END_GROUP:
            if (depth == 0 || open[--depth] != tag >> 3) return 0;
            break;
        case SP_WIRE_FIXED32:
            if (!sp_skip_bytes(in, 4)) return 0;
            break;
        default:
            return 0;
        }
        if (depth == 0) return 1;
        if (!sp_read_tag(in, &tag)) return 0;
    }
}

static sp_verdict read_tag_message(sp_slice content, sp_wire_tag *tag) {
    sp_cursor in = sp_cursor_over(content);
    int has_key = 0;
    *tag = (sp_wire_tag){0};
    while (in.p != in.end) {
        uint32_t field;
        if (!sp_read_tag(&in, &field)) return SP_BAD_FIELD;
        switch (field) {
        case TAG(1, SP_WIRE_BYTES):
            if (!sp_read_bytes(&in, &tag->key)) return SP_BAD_FIELD;
            has_key = 1;
            break;
        case TAG(2, SP_WIRE_BYTES):
            if (!sp_read_bytes(&in, &tag->value)) return SP_BAD_FIELD;
            tag->has_value = 1;
            break;
        default:
            if (!skip_field(&in, field, IN_TAG)) return SP_BAD_FIELD;
        }
    }
    return has_key ? SP_WELL_FORMED : SP_MISSING_TAG_KEY;
}

static inline sp_span span_in(sp_slice message, sp_slice part) {
    return (sp_span){(uint32_t)(part.data - message.data), (uint32_t)part.size};
}

/* What a record's fields say, as wide as they say it. */
typedef struct {
    uint64_t partition_key_index, explicit_hash_key_index;
    sp_slice data;
    uint32_t tag_count;
    int has_partition_key_index, has_explicit_hash_key_index, has_data;
} fields;

/* No table has 2^31 entries: an index that does not fit in 32 bits is out of range as much as this one. */
static inline uint32_t clamp_index(uint64_t index) {
    return index < UINT32_MAX - 1 ? (uint32_t)index : UINT32_MAX - 1;
}

/* The fields in canonical order and nothing else, as every writer of note has them; 0 sends it the long way. */
static inline int read_canonical_record(sp_cursor in, fields *found) {
    if (in.p == in.end || *in.p++ != SP_TAG_PARTITION_KEY_INDEX) return 0;
    if (!sp_read_varint(&in, &found->partition_key_index) || in.p == in.end) return 0;
    found->has_explicit_hash_key_index = *in.p == SP_TAG_EXPLICIT_HASH_KEY_INDEX;
    if (found->has_explicit_hash_key_index) {
        in.p++;
        if (!sp_read_varint(&in, &found->explicit_hash_key_index) || in.p == in.end) return 0;
    }
    return *in.p++ == SP_TAG_DATA && sp_read_bytes(&in, &found->data) && in.p == in.end;
}

/* Fields in any order, again and again, and unknown ones; `at` follows, so that it says where a bad one starts. */
static sp_verdict read_any_record(sp_slice content, fields *found, const uint8_t **at) {
    sp_cursor in = sp_cursor_over(content);
    sp_wire_tag tag;
    sp_slice bytes;
    *found = (fields){0};
    while (in.p != in.end) {
        uint32_t field;
        *at = in.p;
        if (!sp_read_tag(&in, &field)) return SP_BAD_FIELD;
        switch (field) {
        case TAG(1, SP_WIRE_VARINT):
            if (!sp_read_varint(&in, &found->partition_key_index)) return SP_BAD_FIELD;
            found->has_partition_key_index = 1;
            break;
        case TAG(2, SP_WIRE_VARINT):
            if (!sp_read_varint(&in, &found->explicit_hash_key_index)) return SP_BAD_FIELD;
            found->has_explicit_hash_key_index = 1;
            break;
        case TAG(3, SP_WIRE_BYTES):
            if (!sp_read_bytes(&in, &found->data)) return SP_BAD_FIELD;
            found->has_data = 1;
            break;
        case TAG(4, SP_WIRE_BYTES):
            if (!sp_read_bytes(&in, &bytes)) return SP_BAD_FIELD;
            sp_verdict verdict = read_tag_message(bytes, &tag);
            if (verdict != SP_WELL_FORMED) return verdict;
            found->tag_count++;
            break;
        default:
            if (!skip_field(&in, field, IN_RECORD)) return SP_BAD_FIELD;
        }
    }
    *at = content.data;
    if (!found->has_partition_key_index) return SP_MISSING_PARTITION_KEY_INDEX;
    return found->has_data ? SP_WELL_FORMED : SP_MISSING_DATA;
}

void sp_record_tags(sp_slice message, const sp_wire_record *record, sp_wire_tag *tags) {
    sp_cursor in = {message.data + record->field, message.data + message.size};
    sp_slice bytes;
    uint32_t field;
    if (!sp_read_bytes(&in, &bytes)) return;
    in = sp_cursor_over(bytes);
    while (in.p != in.end && sp_read_tag(&in, &field)) {
        if (field == TAG(4, SP_WIRE_BYTES)) {
            if (!sp_read_bytes(&in, &bytes)) return;
            read_tag_message(bytes, tags++);
        } else if (!skip_field(&in, field, IN_RECORD)) {
            return;
        }
    }
}

int sp_frame(sp_slice blob, sp_slice *message) {
    if (blob.size < SP_MIN_AGGREGATE_SIZE || blob.size > INT32_MAX || !sp_starts_with_magic(blob)) return 0;
    *message = (sp_slice){blob.data + SP_MAGIC_SIZE, blob.size - SP_MAGIC_SIZE - SP_TRAILER_SIZE};
    return 1;
}

int sp_message_count(sp_slice message, sp_message_counts *counts, sp_finding *finding) {
    sp_cursor in = sp_cursor_over(message);
    *counts = (sp_message_counts){0};
    while (in.p != in.end) {
        const uint8_t *at = in.p;
        uint32_t field;
        sp_slice bytes;
        int read = sp_read_tag(&in, &field);
        if (read) {
            switch (field) {
            case TAG(1, SP_WIRE_BYTES):
                counts->partition_keys++;
                read = sp_read_bytes(&in, &bytes);
                break;
            case TAG(2, SP_WIRE_BYTES):
                counts->explicit_hash_keys++;
                read = sp_read_bytes(&in, &bytes);
                break;
            case TAG(3, SP_WIRE_BYTES):
                counts->records++;
                read = sp_read_bytes(&in, &bytes);
                break;
            default:
                read = skip_field(&in, field, IN_MESSAGE);
            }
        }
        if (!read) {
            *finding = (sp_finding){SP_BAD_FIELD, (size_t)(at - message.data), 0};
            return 0;
        }
    }
    return 1;
}

/* Are the indices of every record in the tables, and the hash keys they use numbers? */
static int check_indices(sp_slice message, const sp_span *explicit_hash_keys, const sp_wire_record *records,
                         const sp_message_counts *counts, sp_finding *finding) {
    uint32_t checked = SP_NO_INDEX; /* neighbours often share a hash key: read it once */
    for (uint32_t i = 0; i < counts->records; i++) {
        const sp_wire_record *record = &records[i];
        uint32_t index = record->explicit_hash_key_index;
        sp_verdict verdict = SP_WELL_FORMED;
        if (record->partition_key_index >= counts->partition_keys) {
            verdict = SP_PARTITION_KEY_INDEX_RANGE;
        } else if (index != SP_NO_INDEX && index != checked) {
            sp_hash_key value;
            if (index >= counts->explicit_hash_keys) {
                verdict = SP_EXPLICIT_HASH_KEY_INDEX_RANGE;
            } else {
                sp_slice text = sp_span_of(message, explicit_hash_keys[index]);
                if (sp_hash_key_parse(text.data, text.size, &value)) verdict = SP_BAD_EXPLICIT_HASH_KEY;
            }
            checked = index;
        }
        if (verdict != SP_WELL_FORMED) {
            *finding = (sp_finding){verdict, record->field - 1, i};
            return 0;
        }
    }
    return 1;
}

int sp_message_index(sp_slice message, sp_span *partition_keys, sp_span *explicit_hash_keys, sp_wire_record *records,
                     sp_finding *finding) {
    sp_cursor in = sp_cursor_over(message);
    sp_message_counts found = {0};
    while (in.p != in.end) {
        const uint8_t *at = in.p;
        uint32_t field;
        sp_slice content;
        sp_verdict verdict = SP_WELL_FORMED;
        if (!sp_read_tag(&in, &field)) {
            verdict = SP_BAD_FIELD;
        } else if (field == TAG(3, SP_WIRE_BYTES)) {
            uint32_t behind_tag = (uint32_t)(in.p - message.data);
            fields record = {0};
            if (!sp_read_bytes(&in, &content)) {
                verdict = SP_BAD_FIELD;
            } else if (!read_canonical_record(sp_cursor_over(content), &record)) {
                verdict = read_any_record(content, &record, &at);
            }
            if (verdict == SP_WELL_FORMED) {
                records[found.records++] = (sp_wire_record){
                    .data = span_in(message, record.data),
                    .partition_key_index = clamp_index(record.partition_key_index),
                    .explicit_hash_key_index =
                        record.has_explicit_hash_key_index ? clamp_index(record.explicit_hash_key_index) : SP_NO_INDEX,
                    .field = behind_tag,
                    .tag_count = record.tag_count,
                };
            }
        } else if (field == TAG(1, SP_WIRE_BYTES)) {
            if (sp_read_bytes(&in, &content)) {
                partition_keys[found.partition_keys++] = span_in(message, content);
            } else {
                verdict = SP_BAD_FIELD;
            }
        } else if (field == TAG(2, SP_WIRE_BYTES)) {
            if (sp_read_bytes(&in, &content)) {
                explicit_hash_keys[found.explicit_hash_keys++] = span_in(message, content);
            } else {
                verdict = SP_BAD_FIELD;
            }
        } else if (!skip_field(&in, field, IN_MESSAGE)) {
            verdict = SP_BAD_FIELD;
        }
        if (verdict != SP_WELL_FORMED) {
            *finding = (sp_finding){verdict, (size_t)(at - message.data), found.records};
            return 0;
        }
    }
    return check_indices(message, explicit_hash_keys, records, &found, finding);
}
