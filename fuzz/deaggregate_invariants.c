/* libFuzzer target: what csrc/deaggregate promises about any bytes at all.
 *
 * The input is the message: behind an MD5 hardly a mutation would reach the parser. It is read once more as a whole
 * record, for the frame. Input and arrays are allocations of exactly their size, so that ASan sees one byte too many.
 */
#include "whole_walk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Read every byte, so that ASan looks at each. */
static void read_all(sp_slice bytes) {
    volatile uint8_t read = 0;
    for (size_t i = 0; i < bytes.size; i++) read ^= bytes.data[i];
    (void)read;
}

static void demand_inside(sp_slice outer, sp_slice inner) {
    DEMAND(inner.data >= outer.data && inner.size <= outer.size);
    DEMAND((size_t)(inner.data - outer.data) <= outer.size - inner.size);
}

static void demand_span_inside(sp_slice message, sp_span span) {
    DEMAND(span.size <= message.size && span.offset <= message.size - span.size);
    read_all(sp_span_of(message, span));
}

/* Spans of a table: inside, in order, apart from each other. Returns the bytes they hold. */
static size_t check_table(sp_slice message, const sp_span *spans, size_t count) {
    size_t total = 0, from = 0;
    for (size_t i = 0; i < count; i++) {
        demand_span_inside(message, spans[i]);
        DEMAND(spans[i].offset >= from);
        from = (size_t)spans[i].offset + spans[i].size;
        total += spans[i].size;
    }
    return total;
}

static void check_tags(sp_slice message, const sp_wire_record *record, sp_slice content) {
    size_t count = record->tag_count;
    DEMAND(count <= content.size / 4); /* 22 02 0A 00 */
    sp_wire_tag *tags = exactly(count, sizeof *tags);
    sp_record_tags(message, record, tags);
    for (size_t i = 0; i < count; i++) {
        DEMAND(tags[i].has_value == 0 || tags[i].has_value == 1);
        demand_inside(content, tags[i].key);
        read_all(tags[i].key);
        if (tags[i].has_value) {
            demand_inside(content, tags[i].value);
            read_all(tags[i].value);
        }
    }
    free(tags);
}

/* Records: inside, in order, apart from each other. Returns the bytes of data they hold. */
static size_t check_records(const sp_walk *walk, const sp_wire_record *records, int indices_hold) {
    sp_slice message = walk->message;
    size_t total = 0, from = 0;
    for (size_t i = 0; i < walk->found.records; i++) {
        const sp_wire_record *record = &records[i];
        DEMAND(record->field > from && record->field < message.size);
        sp_cursor in = {message.data + record->field, message.data + message.size};
        sp_slice content;
        DEMAND(sp_read_bytes(&in, &content));
        demand_span_inside(message, record->data);
        demand_inside(content, sp_span_of(message, record->data));
        DEMAND(content.size >= 4); /* 08 00 1A 00 */
        check_tags(message, record, content);
        if (indices_hold) {
            uint32_t index = record->explicit_hash_key_index;
            DEMAND(record->partition_key_index < walk->found.partition_keys);
            DEMAND(index == SP_NO_INDEX || index < walk->found.explicit_hash_keys);
        }
        from = (size_t)(content.data - message.data) + content.size;
        total += record->data.size;
    }
    return total;
}

static void check_finding(const sp_walk *walk, const sp_wire_record *records, sp_finding finding) {
    DEMAND(finding.verdict > SP_WELL_FORMED && finding.verdict <= SP_BAD_EXPLICIT_HASH_KEY);
    if (finding.verdict >= SP_PARTITION_KEY_INDEX_RANGE) {
        DEMAND(walk->walked == walk->message.size && finding.record < walk->found.records);
        sp_cursor in = {walk->message.data + finding.offset, walk->message.data + walk->message.size};
        uint32_t tag;
        DEMAND(finding.offset < walk->message.size && sp_read_tag(&in, &tag) && tag == SP_TAG_RECORD);
        DEMAND(in.p == walk->message.data + records[finding.record].field);
    } else {
        DEMAND(finding.record == walk->found.records);
        /* At the end are the fields that an empty record lacks; all else that can be wrong is something. */
        int is_missing = finding.verdict != SP_BAD_FIELD;
        DEMAND(finding.offset < walk->message.size || (is_missing && finding.offset == walk->message.size));
    }
}

/* The columns have room for what the records are, and none more: rows and payload. Before are a row and some bytes. */
enum { ROWS_BEFORE = 1, BYTES_BEFORE = 3, FIRST_KEY = 1000, FIRST_HASH_KEY = 2000, PARENT = 7 };

static void lay_out(sp_columns *columns, int viewed, size_t had, size_t rows) {
    if (viewed) {
        columns->views = moved(columns->views, had, rows, sizeof *columns->views);
    } else {
        columns->offsets = moved(columns->offsets, had, rows, sizeof *columns->offsets);
    }
    columns->partition_key_indices = moved(columns->partition_key_indices, had, rows, sizeof(int32_t));
    columns->explicit_hash_key_indices = moved(columns->explicit_hash_key_indices, had, rows, sizeof(int32_t));
    columns->sub_sequence_numbers = moved(columns->sub_sequence_numbers, had, rows, sizeof(int32_t));
    columns->parents = moved(columns->parents, had, rows, sizeof(int32_t));
}

static void check_view(const sp_binary_view *view, sp_slice message, const sp_wire_record *record) {
    sp_slice data = sp_span_of(message, record->data);
    uint8_t bytes[sizeof *view], held[SP_VIEW_INLINE] = {0};
    memcpy(bytes, view, sizeof bytes);
    DEMAND(view->size == (int32_t)data.size);
    if (data.size > SP_VIEW_INLINE) {
        DEMAND(view->buffer == PARENT && view->offset == (int32_t)record->data.offset);
        DEMAND(memcmp(view->prefix, data.data, SP_VIEW_PREFIX) == 0);
    } else {
        if (data.size) memcpy(held, data.data, data.size);
        DEMAND(memcmp(bytes + sizeof view->size, held, sizeof held) == 0);
    }
}

static void check_row(const sp_columns *columns, size_t i, sp_slice message, const sp_wire_record *record, size_t at) {
    size_t row = ROWS_BEFORE + i;
    uint32_t hash_key = record->explicit_hash_key_index;
    if (columns->views) {
        check_view(&columns->views[row], message, record);
    } else {
        DEMAND(columns->offsets[row] == (int64_t)at);
        DEMAND(memcmp(columns->data + at, sp_span_of(message, record->data).data, record->data.size) == 0);
    }
    DEMAND(columns->partition_key_indices[row] == FIRST_KEY + (int32_t)record->partition_key_index);
    DEMAND(columns->explicit_hash_key_indices[row] ==
           (hash_key == SP_NO_INDEX ? -1 : FIRST_HASH_KEY + (int32_t)hash_key));
    DEMAND(columns->sub_sequence_numbers[row] == (int32_t)i && columns->parents[row] == PARENT);
}

/* sp_walk_columns finds what sp_walk_records found, and appends it to what is there: payloads copied, or viewed. */
static void check_columns(const sp_walk *expected, const sp_wire_record *records, int sound, size_t data_size,
                          int viewed) {
    sp_slice message = expected->message;
    sp_walk walk = begin_walk(message, 1 + (uint32_t)(message.size % 3));
    sp_finding finding;
    sp_outcome outcome;
    size_t at = BYTES_BEFORE, room_for_data = BYTES_BEFORE;
    if (!viewed) room_for_data += (sound ? data_size : message.size) + SP_COPY_SLACK;
    sp_columns columns = {.data = exactly(room_for_data, 1),
                          .count = ROWS_BEFORE,
                          .size = BYTES_BEFORE,
                          .first_partition_key = FIRST_KEY,
                          .first_explicit_hash_key = FIRST_HASH_KEY,
                          .parent = PARENT};
    lay_out(&columns, viewed, 0, ROWS_BEFORE + walk.room.records);
    while ((outcome = sp_walk_columns(&walk, &columns, &finding)) == SP_NO_ROOM) {
        DEMAND(columns.count == ROWS_BEFORE);
        size_t had = ROWS_BEFORE + walk.found.records;
        if (make_room(&walk)) lay_out(&columns, viewed, had, ROWS_BEFORE + walk.room.records);
    }
    DEMAND(outcome == (sound ? SP_WALKED : SP_FAULT));
    DEMAND(columns.count == ROWS_BEFORE + (sound ? expected->found.records : 0));
    for (size_t i = 0; sound && i < expected->found.records; i++) {
        check_row(&columns, i, message, &records[i], at);
        at += records[i].data.size;
    }
    if (sound) {
        DEMAND(columns.size == (viewed ? BYTES_BEFORE : at));
        DEMAND(memcmp(&walk.found, &expected->found, sizeof walk.found) == 0);
        DEMAND(memcmp(walk.partition_keys, expected->partition_keys, walk.found.partition_keys * sizeof(sp_span)) == 0);
        DEMAND(memcmp(walk.explicit_hash_keys, expected->explicit_hash_keys,
                      walk.found.explicit_hash_keys * sizeof(sp_span)) == 0);
    }
    for (size_t i = 0; i < BYTES_BEFORE; i++) DEMAND(columns.data[i] == UNTOUCHED);
    if (viewed) {
        DEMAND((uint32_t)columns.views[0].size == 0xa5a5a5a5 && (uint32_t)columns.views[0].offset == 0xa5a5a5a5);
    } else {
        DEMAND((uint64_t)columns.offsets[0] == 0xa5a5a5a5a5a5a5a5);
    }
    DEMAND((uint32_t)columns.partition_key_indices[0] == 0xa5a5a5a5);
    DEMAND((uint32_t)columns.explicit_hash_key_indices[0] == 0xa5a5a5a5);
    free(columns.views);
    free(columns.offsets);
    free(columns.partition_key_indices);
    free(columns.explicit_hash_key_indices);
    free(columns.sub_sequence_numbers);
    free(columns.parents);
    free(columns.data);
    end_walk(&walk);
}

/* Another way to walk is checked beside check_columns. */
static void check_message(sp_slice message) {
    sp_walk walk = begin_walk(message, 1);
    sp_wire_record *records;
    sp_finding finding;
    sp_outcome outcome = walk_all_records(&walk, &records, &finding);
    int sound = outcome == SP_WALKED;
    if (sound) {
        DEMAND(walk.walked == message.size);
    } else {
        check_finding(&walk, records, finding);
    }
    /* A table entry takes at least 2 bytes, a record 6: what is allocated for them is linear in the message. What is
     * copied is, too: no byte of it is in two places. */
    size_t entries = (size_t)walk.found.partition_keys + walk.found.explicit_hash_keys;
    DEMAND(2 * entries + 6 * (size_t)walk.found.records <= message.size);
    size_t data_size = check_records(&walk, records, sound);
    size_t keys_size = check_table(message, walk.partition_keys, walk.found.partition_keys) +
                       check_table(message, walk.explicit_hash_keys, walk.found.explicit_hash_keys);
    DEMAND(data_size + keys_size <= message.size);
    check_columns(&walk, records, sound, data_size, 0);
    check_columns(&walk, records, sound, data_size, 1);
    free(records);
    end_walk(&walk);
}

static void check_frame(sp_slice blob) {
    sp_slice message;
    if (!sp_frame(blob, &message)) {
        DEMAND(blob.size < SP_MIN_AGGREGATE_SIZE || memcmp(blob.data, SP_MAGIC, SP_MAGIC_SIZE) != 0);
        return;
    }
    DEMAND(blob.size >= SP_MIN_AGGREGATE_SIZE && memcmp(blob.data, SP_MAGIC, SP_MAGIC_SIZE) == 0);
    DEMAND(message.data == blob.data + SP_MAGIC_SIZE && message.size >= 1);
    DEMAND(message.size + SP_MAGIC_SIZE + SP_TRAILER_SIZE == blob.size);
    check_message(message);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    uint8_t *copy = exactly(size, 1);
    if (size) memcpy(copy, data, size);
    sp_slice input = {copy, size};
    check_frame(input);
    check_message(input);
    free(copy);
    return 0;
}
