/* libFuzzer target: what csrc/deaggregate promises about any bytes at all.
 *
 * The input is the message: behind an MD5 hardly a mutation would reach the parser. It is read once more as a whole
 * record, for the frame. Input and arrays are allocations of exactly their size, so that ASan sees one byte too many.
 */
#include "columns.h"
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

/* --- many records in one call --- */

enum { MANY = 5 };

/* The message in its frame, with its digest or one that is wrong. */
static uint8_t *framed(sp_slice message, int digest_is_right) {
    uint8_t *blob = exactly(SP_MAGIC_SIZE + message.size + SP_TRAILER_SIZE, 1);
    memcpy(blob, SP_MAGIC, SP_MAGIC_SIZE);
    if (message.size) memcpy(blob + SP_MAGIC_SIZE, message.data, message.size);
    sp_md5_many_portable(&message, 1, blob + SP_MAGIC_SIZE + message.size);
    if (!digest_is_right) blob[SP_MAGIC_SIZE + message.size] ^= 1;
    return blob;
}

static void check_kind(const sp_contents *contents, sp_kind kind, const sp_walk *expected,
                       const sp_wire_record *records, sp_finding finding) {
    DEMAND(contents->kind == kind);
    if (kind == SP_MALFORMED) {
        DEMAND(contents->finding.verdict == finding.verdict && contents->finding.offset == finding.offset);
        DEMAND(contents->finding.record == finding.record);
    }
    if (kind != SP_AGGREGATED) {
        DEMAND(!contents->walk.partition_keys && !contents->walk.explicit_hash_keys && !contents->records);
        return;
    }
    const sp_message_counts *found = &expected->found;
    DEMAND(memcmp(&contents->walk.found, found, sizeof *found) == 0);
    DEMAND(memcmp(contents->walk.partition_keys, expected->partition_keys, found->partition_keys * sizeof(sp_span)) ==
           0);
    if (!contents->records) return; /* they went into columns */
    for (uint32_t i = 0; i < found->records; i++) {
        DEMAND(memcmp(&contents->records[i], &records[i], sizeof records[i]) == 0);
    }
}

static void check_data(const sp_columns *columns, size_t row, sp_slice message, const sp_wire_record *record) {
    sp_slice data = sp_span_of(message, record->data);
    if (columns->views) {
        DEMAND((size_t)columns->views[row].size == data.size);
        DEMAND(data.size <= SP_VIEW_INLINE || columns->views[row].offset == (int32_t)record->data.offset);
    } else {
        DEMAND((size_t)(columns->offsets[row + 1] - columns->offsets[row]) == data.size);
        DEMAND(memcmp(columns->data + columns->offsets[row], data.data, data.size) == 0);
    }
}

/* The message of a compressed aggregate: taken without a checksum, and malformed where it does not parse. */
static void check_unpacked(const sp_walk *expected, const sp_wire_record *records, int sound, sp_finding finding) {
    static const uint8_t whole[] = "F5SPZ";
    sp_slice message = expected->message;
    if (message.size == 0) return;
    sp_received received = {.data = {whole, sizeof whole - 1}, .message = message};
    sp_kind kind = sound ? SP_AGGREGATED : SP_MALFORMED;
    sp_contents contents = {0};
    DEMAND(sp_contents_read(&received, 1, sp_md5_many_portable, NULL, &contents));
    check_kind(&contents, kind, expected, records, finding);
    sp_contents_free(&contents);
    for (int viewed = 0; viewed < 2; viewed++) {
        sp_filling filling = {.viewed = viewed};
        sp_contents filled = {0};
        DEMAND(sp_columns_fill(&filling, &received, 1, sp_md5_many_portable, NULL, &filled) == SP_FILLED);
        DEMAND(filling.columns.count == (sound ? expected->found.records : 1));
        for (size_t row = 0; sound && row < filling.columns.count; row++) {
            check_data(&filling.columns, row, message, &records[row]);
        }
        check_kind(&filled, kind, expected, records, finding);
        sp_contents_free(&filled);
        free(filling.rows);
        free(filling.columns.data);
    }
}

/* Records between others: as they are one by one, left out where the range has no room for them, and in columns. */
static void check_many(const sp_walk *expected, const sp_wire_record *records, int sound, sp_finding finding) {
    static const sp_hash_range everything = {{0, 0}, {UINT64_MAX, UINT64_MAX}};
    sp_slice message = expected->message;
    if (message.size == 0) return;
    uint8_t *right = framed(message, 1), *wrong = framed(message, 0);
    size_t size = SP_MAGIC_SIZE + message.size + SP_TRAILER_SIZE;
    sp_received received[MANY] = {
        {.data = {right, size}},
        {.data = {wrong, size}, .has_explicit_hash_key = 1},
        {.data = {right, size}, .deaggregated = 1},
        {.data = message, .deaggregated = 1},
        {.data = {right, size}},
    };
    sp_kind kind = sound ? SP_AGGREGATED : finding.verdict >= SP_PARTITION_KEY_INDEX_RANGE ? SP_MALFORMED : SP_RAW;
    const sp_kind kinds[MANY] = {kind, SP_RAW, SP_RAW, SP_RAW, kind};
    sp_contents contents[MANY] = {0};
    DEMAND(sp_contents_read(received, MANY, sp_md5_many_portable, &everything, contents));
    for (int i = 0; i < MANY; i++) {
        check_kind(&contents[i], kinds[i], expected, records, finding);
        sp_contents_free(&contents[i]);
    }
    for (int viewed = 0; viewed < 2; viewed++) {
        sp_filling filling = {.viewed = viewed};
        sp_contents filled[MANY] = {0};
        const sp_hash_range *range = message.size % 2 ? &everything : NULL;
        DEMAND(sp_columns_fill(&filling, received, MANY, sp_md5_many_portable, range, filled) == SP_FILLED);
        size_t rows = sound ? expected->found.records : 1;
        DEMAND(filling.columns.count == 2 * rows + 3 && filling.columns.parent == MANY);
        if (!viewed) DEMAND((size_t)filling.columns.offsets[2 * rows + 3] == filling.columns.size);
        for (size_t row = 0; row < rows; row++) {
            DEMAND(filling.columns.parents[row] == 0 && filling.columns.parents[rows + 3 + row] == MANY - 1);
            if (!sound) continue;
            check_data(&filling.columns, row, message, &records[row]);
            check_data(&filling.columns, rows + 3 + row, message, &records[row]);
            DEMAND(filling.columns.partition_key_indices[row] == (int32_t)records[row].partition_key_index);
        }
        DEMAND(filling.columns.explicit_hash_key_indices[rows] ==
               (sound ? (int32_t)expected->found.explicit_hash_keys : 0));
        for (int i = 0; i < MANY; i++) {
            DEMAND(!filled[i].records);
            check_kind(&filled[i], kinds[i], expected, records, finding);
            sp_contents_free(&filled[i]);
        }
        free(filling.rows);
        free(filling.columns.data);
    }
    free(right);
    free(wrong);
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
    check_many(&walk, records, sound, finding);
    check_unpacked(&walk, records, sound, finding);
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
