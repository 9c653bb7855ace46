#include "deaggregate.h"

#include <string.h>

enum { MAX_GROUP_DEPTH = 100 }; /* protobuf's own recursion limit */

#define TAG(number, wire_type) ((number) << 3 | (wire_type))

/* Skip the content of an unknown field. Groups nest, so the open ones are kept on a small stack. */
static int skip_field(sp_cursor *in, uint32_t tag) {
    uint32_t open[MAX_GROUP_DEPTH];
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
            if (depth == MAX_GROUP_DEPTH) return 0;
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
            if (!skip_field(&in, field)) return SP_BAD_FIELD;
        }
    }
    return has_key ? SP_WELL_FORMED : SP_MISSING_TAG_KEY;
}

/* Read a record's fields; `at` moves along so that the caller can tell where a bad one starts. */
static sp_verdict read_record(sp_slice content, sp_wire_record *record, const uint8_t **at) {
    sp_cursor in = sp_cursor_over(content);
    int has_partition_key_index = 0, has_data = 0;
    sp_wire_tag tag;
    sp_slice bytes;
    *record = (sp_wire_record){.content = content, .explicit_hash_key_index = UINT64_MAX};
    while (in.p != in.end) {
        uint32_t field;
        *at = in.p;
        if (!sp_read_tag(&in, &field)) return SP_BAD_FIELD;
        switch (field) {
        case TAG(1, SP_WIRE_VARINT):
            if (!sp_read_varint(&in, &record->partition_key_index)) return SP_BAD_FIELD;
            has_partition_key_index = 1;
            break;
        case TAG(2, SP_WIRE_VARINT):
            if (!sp_read_varint(&in, &record->explicit_hash_key_index)) return SP_BAD_FIELD;
            /* keep a real 2^64-1 apart from "none"; neither is in any table */
            if (record->explicit_hash_key_index == UINT64_MAX) record->explicit_hash_key_index--;
            break;
        case TAG(3, SP_WIRE_BYTES):
            if (!sp_read_bytes(&in, &record->data)) return SP_BAD_FIELD;
            has_data = 1;
            break;
        case TAG(4, SP_WIRE_BYTES):
            if (!sp_read_bytes(&in, &bytes)) return SP_BAD_FIELD;
            sp_verdict verdict = read_tag_message(bytes, &tag);
            if (verdict != SP_WELL_FORMED) return verdict;
            record->tag_count++;
            break;
        default:
            if (!skip_field(&in, field)) return SP_BAD_FIELD;
        }
    }
    *at = content.data;
    if (!has_partition_key_index) return SP_MISSING_PARTITION_KEY_INDEX;
    return has_data ? SP_WELL_FORMED : SP_MISSING_DATA;
}

void sp_record_tags(const sp_wire_record *record, sp_wire_tag *tags) {
    sp_cursor in = sp_cursor_over(record->content);
    uint32_t field;
    while (in.p != in.end && sp_read_tag(&in, &field)) {
        sp_slice bytes;
        if (field == TAG(4, SP_WIRE_BYTES)) {
            if (!sp_read_bytes(&in, &bytes)) return;
            read_tag_message(bytes, tags++);
        } else if (!skip_field(&in, field)) {
            return;
        }
    }
}

int sp_frame(sp_slice blob, sp_slice *message) {
    if (blob.size < SP_MIN_AGGREGATE_SIZE || memcmp(blob.data, SP_MAGIC, SP_MAGIC_SIZE) != 0) return 0;
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
                read = skip_field(&in, field);
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
static int check_indices(sp_slice message, const sp_slice *explicit_hash_keys, const sp_wire_record *records,
                         const sp_message_counts *counts, sp_finding *finding) {
    uint64_t checked = UINT64_MAX; /* neighbours often share a hash key: read it once */
    for (size_t i = 0; i < counts->records; i++) {
        const sp_wire_record *record = &records[i];
        uint64_t index = record->explicit_hash_key_index;
        sp_verdict verdict = SP_WELL_FORMED;
        sp_hash_key value;
        if (record->partition_key_index >= counts->partition_keys) {
            verdict = SP_PARTITION_KEY_INDEX_RANGE;
        } else if (index != UINT64_MAX && index != checked) {
            if (index >= counts->explicit_hash_keys) {
                verdict = SP_EXPLICIT_HASH_KEY_INDEX_RANGE;
            } else if (sp_hash_key_parse(explicit_hash_keys[index].data, explicit_hash_keys[index].size, &value)) {
                verdict = SP_BAD_EXPLICIT_HASH_KEY;
            }
            checked = index;
        }
        if (verdict != SP_WELL_FORMED) {
            *finding = (sp_finding){verdict, (size_t)(record->content.data - message.data), i};
            return 0;
        }
    }
    return 1;
}

int sp_message_index(sp_slice message, sp_slice *partition_keys, sp_slice *explicit_hash_keys, sp_wire_record *records,
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
            if (sp_read_bytes(&in, &content)) {
                verdict = read_record(content, &records[found.records++], &at);
            } else {
                verdict = SP_BAD_FIELD;
            }
        } else if (field == TAG(1, SP_WIRE_BYTES)) {
            if (!sp_read_bytes(&in, &partition_keys[found.partition_keys++])) verdict = SP_BAD_FIELD;
        } else if (field == TAG(2, SP_WIRE_BYTES)) {
            if (!sp_read_bytes(&in, &explicit_hash_keys[found.explicit_hash_keys++])) verdict = SP_BAD_FIELD;
        } else if (!skip_field(&in, field)) {
            verdict = SP_BAD_FIELD;
        }
        if (verdict != SP_WELL_FORMED) {
            *finding = (sp_finding){verdict, (size_t)(at - message.data), found.records ? found.records - 1 : 0};
            return 0;
        }
    }
    return check_indices(message, explicit_hash_keys, records, &found, finding);
}
