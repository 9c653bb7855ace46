#include "wire_record.h"

enum { MAX_DEPTH = 100 }; /* protobuf's own limit on messages and groups inside one another */

/* Groups nest, so the open ones are kept on a small stack. */
int sp_skip_field(sp_cursor *in, uint32_t tag, unsigned level) {
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
        case SP_FIELD_TAG(1, SP_WIRE_BYTES):
            if (!sp_read_bytes(&in, &tag->key)) return SP_BAD_FIELD;
            has_key = 1;
            break;
        case SP_FIELD_TAG(2, SP_WIRE_BYTES):
            if (!sp_read_bytes(&in, &tag->value)) return SP_BAD_FIELD;
            tag->has_value = 1;
            break;
        default:
            if (!sp_skip_field(&in, field, SP_IN_TAG)) return SP_BAD_FIELD;
        }
    }
    return has_key ? SP_WELL_FORMED : SP_MISSING_TAG_KEY;
}

sp_verdict sp_read_wire_fields(sp_slice content, sp_wire_fields *found, const uint8_t **at) {
    sp_cursor in = sp_cursor_over(content);
    sp_wire_tag tag;
    sp_slice bytes;
    *found = (sp_wire_fields){0};
    while (in.p != in.end) {
        uint32_t field;
        *at = in.p;
        if (!sp_read_tag(&in, &field)) return SP_BAD_FIELD;
        switch (field) {
        case SP_FIELD_TAG(1, SP_WIRE_VARINT):
            if (!sp_read_varint(&in, &found->partition_key_index)) return SP_BAD_FIELD;
            found->has_partition_key_index = 1;
            break;
        case SP_FIELD_TAG(2, SP_WIRE_VARINT):
            if (!sp_read_varint(&in, &found->explicit_hash_key_index)) return SP_BAD_FIELD;
            found->has_explicit_hash_key_index = 1;
            break;
        case SP_FIELD_TAG(3, SP_WIRE_BYTES):
            if (!sp_read_bytes(&in, &found->data)) return SP_BAD_FIELD;
            found->has_data = 1;
            break;
        case SP_FIELD_TAG(4, SP_WIRE_BYTES):
            if (!sp_read_bytes(&in, &bytes)) return SP_BAD_FIELD;
            sp_verdict verdict = read_tag_message(bytes, &tag);
            if (verdict != SP_WELL_FORMED) return verdict;
            found->tag_count++;
            break;
        default:
            if (!sp_skip_field(&in, field, SP_IN_RECORD)) return SP_BAD_FIELD;
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
        if (field == SP_FIELD_TAG(4, SP_WIRE_BYTES)) {
            if (!sp_read_bytes(&in, &bytes)) return;
            read_tag_message(bytes, tags++);
        } else if (!sp_skip_field(&in, field, SP_IN_RECORD)) {
            return;
        }
    }
}
