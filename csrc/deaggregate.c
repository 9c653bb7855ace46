#include "deaggregate.h"

#include <string.h>

static inline sp_span span_in(sp_slice message, sp_slice part) {
    return (sp_span){(uint32_t)(part.data - message.data), (uint32_t)part.size};
}

/* No table has 2^31 entries: an index that does not fit in 32 bits is out of range as much as this one. */
static inline uint32_t clamp_index(uint64_t index) {
    return index < UINT32_MAX - 1 ? (uint32_t)index : UINT32_MAX - 1;
}

int sp_frame(sp_slice blob, sp_slice *message) {
    if (blob.size < SP_MIN_AGGREGATE_SIZE || blob.size > INT32_MAX || !sp_starts_with_magic(blob)) return 0;
    *message = (sp_slice){blob.data + SP_MAGIC_SIZE, blob.size - SP_MAGIC_SIZE - SP_TRAILER_SIZE};
    return 1;
}

/* --- the short way ---
 *
 * Nearly every field of nearly every message is a table entry or a record in canonical order, of less than 16 KiB. Such
 * fields are read without a branch that depends on lengths and indices but for one: is this such a field? If not, it is
 * read the long way. Where the next field starts depends on nothing but the length of this one, so the processor reads
 * ahead of what is being done with it.
 */

enum {
    SHORT_FIELD_HEAD = 12, /* tag and length, two tags with indices, a tag with a length: what is looked at */
    READ_AHEAD = 1024,     /* bytes, of a message that its checksum has left in the second-level cache */
    COPIED_SHORT = 512,
};

/* A varint of one or two bytes; `longer` becomes nonzero when it is not. */
static inline uint32_t read_short_varint(const uint8_t **p, uint32_t *longer) {
    uint32_t low = (*p)[0], high = (*p)[1], two = low >> 7;
    *p += 1 + two;
    *longer |= two & (high >> 7);
    return (low & 0x7f) | (high << 7 & (0U - two));
}

/* The same with a branch: lengths are much alike, and the next field waits for this one's. */
static inline uint32_t read_short_length(const uint8_t **p, uint32_t *longer) {
    if (**p < 0x80) return *(*p)++;
    return read_short_varint(p, longer);
}

static inline int has_short_field(const sp_cursor *in) {
    return in->end - in->p >= SHORT_FIELD_HEAD;
}

/* A table entry, or any record: its content. */
static inline int read_short_bytes(sp_cursor *in, uint8_t tag, sp_slice *content) {
    uint32_t longer = 0;
    const uint8_t *p = in->p + 1;
    content->size = read_short_length(&p, &longer);
    content->data = p;
    if (*in->p != tag || longer || content->size > (size_t)(in->end - p)) return 0;
    in->p = p + content->size;
    return 1;
}

/* A record, its fields in canonical order and nothing else in it. */
static inline int read_short_record(sp_cursor *in, uint32_t *partition_key_index, uint32_t *explicit_hash_key_index,
                                    sp_slice *data) {
    uint32_t longer = 0;
    const uint8_t *p = in->p + 1;
    uint32_t size = read_short_length(&p, &longer);
    const uint8_t *content = p;
    uint32_t other = (*in->p ^ SP_TAG_RECORD) | (*p++ ^ SP_TAG_PARTITION_KEY_INDEX);
    *partition_key_index = read_short_varint(&p, &longer);
    *explicit_hash_key_index = SP_NO_INDEX;
    if (*p == SP_TAG_EXPLICIT_HASH_KEY_INDEX) {
        p++;
        *explicit_hash_key_index = read_short_varint(&p, &longer);
    }
    other |= *p++ ^ SP_TAG_DATA;
    data->size = read_short_length(&p, &longer);
    data->data = p;
    if (other | longer || (size_t)(p - content) + data->size != size || size > (size_t)(in->end - content)) return 0;
    in->p = content + size;
    return 1;
}

/* --- the walk --- */

static inline sp_cursor rest_of(const sp_walk *walk) {
    return (sp_cursor){walk->message.data + walk->walked, walk->message.data + walk->message.size};
}

static inline void walked_to(sp_walk *walk, const uint8_t *p) {
    walk->walked = (size_t)(p - walk->message.data);
}

static void put_short_keys(sp_walk *walk, uint8_t tag, sp_span *keys, uint32_t *found, uint32_t room) {
    sp_cursor in = rest_of(walk);
    sp_slice key;
    uint32_t i = *found;
    while (i < room && has_short_field(&in) && read_short_bytes(&in, tag, &key)) {
        keys[i++] = span_in(walk->message, key);
    }
    *found = i;
    walked_to(walk, in.p);
}

static void put_short_records(sp_walk *walk, sp_wire_record *records) {
    sp_cursor in = rest_of(walk);
    sp_slice data;
    uint32_t i = walk->found.records;
    while (i < walk->room.records && has_short_field(&in)) {
        sp_wire_record *record = &records[i];
        record->field = (uint32_t)(in.p + 1 - walk->message.data);
        if (!read_short_record(&in, &record->partition_key_index, &record->explicit_hash_key_index, &data)) break;
        record->data = span_in(walk->message, data);
        record->tag_count = 0;
        SP_PREFETCH(in.p + READ_AHEAD);
        i++;
    }
    walk->found.records = i;
    walked_to(walk, in.p);
}

/* Copy payload. Short ones go by blocks, past their end where that can be read; there is room for it. */
static inline void copy_data(uint8_t *to, sp_slice data, const uint8_t *end) {
    if (data.size <= COPIED_SHORT && (size_t)(end - data.data) >= data.size + SP_COPY_SLACK) {
        for (size_t i = 0; i < data.size; i += SP_COPY_SLACK) memcpy(to + i, data.data + i, SP_COPY_SLACK);
    } else if (data.size) {
        memcpy(to, data.data, data.size);
    }
}

/* Made twice, as `viewed` is known in each. */
static SP_ALWAYS_INLINE void put_short_rows(sp_walk *walk, sp_columns *columns, int viewed) {
    sp_cursor in = rest_of(walk);
    sp_slice bytes;
    size_t row = columns->count + walk->found.records, end = columns->count + walk->room.records;
    sp_binary_view *views = columns->views;
    int64_t *offsets = columns->offsets; /* in locals: the bytes that are copied could be any of these */
    int32_t *partition_key_indices = columns->partition_key_indices;
    int32_t *explicit_hash_key_indices = columns->explicit_hash_key_indices;
    uint8_t *data = columns->data;
    size_t size = columns->size;
    const uint8_t *message = walk->message.data;
    int32_t parent = columns->parent;
    while (row < end && has_short_field(&in)) {
        uint32_t partition_key_index, explicit_hash_key_index;
        if (!read_short_record(&in, &partition_key_index, &explicit_hash_key_index, &bytes)) break;
        SP_PREFETCH(in.p + READ_AHEAD);
        partition_key_indices[row] = (int32_t)partition_key_index;
        explicit_hash_key_indices[row] = (int32_t)explicit_hash_key_index;
        if (viewed) {
            views[row] = sp_binary_view_of(bytes, parent, (size_t)(bytes.data - message));
        } else {
            offsets[row] = (int64_t)size;
            copy_data(data + size, bytes, in.end);
            SP_PREFETCH_WRITE(data + size + READ_AHEAD);
            size += bytes.size;
        }
        row++;
    }
    walk->found.records = (uint32_t)(row - columns->count);
    columns->size = size;
    walked_to(walk, in.p);
}

/* One record, whatever is in it, the long way: to the one of `records` and `columns` that is there. */
static sp_verdict put_any_record(sp_walk *walk, sp_slice content, const uint8_t *behind_tag, sp_wire_record *records,
                                 sp_columns *columns, const uint8_t **at) {
    sp_wire_fields record;
    sp_verdict verdict = sp_read_wire_fields(content, &record, at);
    if (verdict != SP_WELL_FORMED) return verdict;
    uint32_t partition_key_index = clamp_index(record.partition_key_index);
    uint32_t explicit_hash_key_index =
        record.has_explicit_hash_key_index ? clamp_index(record.explicit_hash_key_index) : SP_NO_INDEX;
    uint32_t i = walk->found.records++;
    if (records) {
        records[i] = (sp_wire_record){
            .data = span_in(walk->message, record.data),
            .partition_key_index = partition_key_index,
            .explicit_hash_key_index = explicit_hash_key_index,
            .field = (uint32_t)(behind_tag - walk->message.data),
            .tag_count = record.tag_count,
        };
    } else {
        size_t row = columns->count + i;
        columns->partition_key_indices[row] = (int32_t)partition_key_index;
        columns->explicit_hash_key_indices[row] = (int32_t)explicit_hash_key_index;
        if (columns->views) {
            size_t offset = span_in(walk->message, record.data).offset;
            columns->views[row] = sp_binary_view_of(record.data, columns->parent, offset);
        } else {
            columns->offsets[row] = (int64_t)columns->size;
            if (record.data.size) memcpy(columns->data + columns->size, record.data.data, record.data.size);
            columns->size += record.data.size;
        }
    }
    return SP_WELL_FORMED;
}

/* One field, whichever it is, the long way. */
static sp_verdict put_any_field(sp_walk *walk, sp_wire_record *records, sp_columns *columns, const uint8_t **at) {
    sp_cursor in = rest_of(walk);
    uint32_t tag;
    sp_slice content;
    sp_verdict verdict = SP_WELL_FORMED;
    *at = in.p;
    if (!sp_read_tag(&in, &tag)) return SP_BAD_FIELD;
    const uint8_t *behind_tag = in.p;
    switch (tag) {
    case SP_FIELD_TAG(1, SP_WIRE_BYTES):
        if (!sp_read_bytes(&in, &content)) return SP_BAD_FIELD;
        walk->partition_keys[walk->found.partition_keys++] = span_in(walk->message, content);
        break;
    case SP_FIELD_TAG(2, SP_WIRE_BYTES):
        if (!sp_read_bytes(&in, &content)) return SP_BAD_FIELD;
        walk->explicit_hash_keys[walk->found.explicit_hash_keys++] = span_in(walk->message, content);
        break;
    case SP_FIELD_TAG(3, SP_WIRE_BYTES):
        if (!sp_read_bytes(&in, &content)) return SP_BAD_FIELD;
        verdict = put_any_record(walk, content, behind_tag, records, columns, at);
        break;
    default:
        if (!sp_skip_field(&in, tag, SP_IN_MESSAGE)) return SP_BAD_FIELD;
    }
    walked_to(walk, in.p);
    return verdict;
}

/* Walk until the end, a lack of room or a fault. */
static sp_outcome walk_on(sp_walk *walk, sp_wire_record *records, sp_columns *columns, sp_finding *finding) {
    sp_message_counts *found = &walk->found;
    const sp_message_counts *room = &walk->room;
    for (;;) {
        put_short_keys(walk, SP_TAG_PARTITION_KEY, walk->partition_keys, &found->partition_keys, room->partition_keys);
        put_short_keys(walk, SP_TAG_EXPLICIT_HASH_KEY, walk->explicit_hash_keys, &found->explicit_hash_keys,
                       room->explicit_hash_keys);
        if (records) {
            put_short_records(walk, records);
        } else if (columns->views) {
            put_short_rows(walk, columns, 1);
        } else {
            put_short_rows(walk, columns, 0);
        }
        if (walk->walked == walk->message.size) return SP_WALKED;
        if (found->partition_keys == room->partition_keys || found->explicit_hash_keys == room->explicit_hash_keys ||
            found->records == room->records) {
            return SP_NO_ROOM;
        }
        const uint8_t *at;
        sp_verdict verdict = put_any_field(walk, records, columns, &at);
        if (verdict != SP_WELL_FORMED) {
            *finding = (sp_finding){verdict, (size_t)(at - walk->message.data), found->records};
            return SP_FAULT;
        }
    }
}

/* Set in the size of a span, which is below 2^31, while records are checked: this hash key is a number. A key may be
 * half the message and every record may name it, so that reading it again for each would take the square of the size.
 */
#define IS_NUMBER ((uint32_t)1 << 31)

/* Is the index in the table, and the hash key there a number? */
static sp_verdict check_explicit_hash_key(const sp_walk *walk, uint32_t index) {
    if (index >= walk->found.explicit_hash_keys) return SP_EXPLICIT_HASH_KEY_INDEX_RANGE;
    sp_span *key = &walk->explicit_hash_keys[index];
    if (key->size & IS_NUMBER) return SP_WELL_FORMED;
    sp_slice text = sp_span_of(walk->message, *key);
    sp_hash_key value;
    if (sp_hash_key_parse(text.data, text.size, &value)) return SP_BAD_EXPLICIT_HASH_KEY;
    key->size |= IS_NUMBER;
    return SP_WELL_FORMED;
}

static void forget_numbers(const sp_walk *walk) {
    for (uint32_t i = 0; i < walk->found.explicit_hash_keys; i++) walk->explicit_hash_keys[i].size &= ~IS_NUMBER;
}

/* Where the field of a record starts: before its tag, which a writer may have padded, 9A 80 ... 00 for 1A. */
static size_t start_of_field(const sp_walk *walk, const sp_wire_record *record) {
    size_t at = record->field - 1;
    if (walk->message.data[at] == SP_TAG_RECORD) return at;
    while (walk->message.data[at] != (SP_TAG_RECORD | 0x80)) at--;
    return at;
}

/* Are the indices of every record in the tables, and the hash keys they use numbers? */
static int check_records(const sp_walk *walk, const sp_wire_record *records, sp_finding *finding) {
    sp_verdict verdict = SP_WELL_FORMED;
    for (uint32_t i = 0; i < walk->found.records && verdict == SP_WELL_FORMED; i++) {
        uint32_t index = records[i].explicit_hash_key_index;
        if (records[i].partition_key_index >= walk->found.partition_keys) {
            verdict = SP_PARTITION_KEY_INDEX_RANGE;
        } else if (index != SP_NO_INDEX) {
            verdict = check_explicit_hash_key(walk, index);
        }
        if (verdict != SP_WELL_FORMED) *finding = (sp_finding){verdict, start_of_field(walk, &records[i]), i};
    }
    forget_numbers(walk);
    return verdict == SP_WELL_FORMED;
}

sp_outcome sp_walk_records(sp_walk *walk, sp_wire_record *records, sp_finding *finding) {
    sp_outcome outcome = walk_on(walk, records, NULL, finding);
    return outcome == SP_WALKED && !check_records(walk, records, finding) ? SP_FAULT : outcome;
}

/* The same check over rows, whose indices become those of the tables of all messages. */
static int check_rows(const sp_walk *walk, const sp_columns *columns) {
    int32_t *partition_key_indices = columns->partition_key_indices + columns->count;
    int32_t *explicit_hash_key_indices = columns->explicit_hash_key_indices + columns->count;
    uint32_t rows = walk->found.records, highest = 0, all_without = SP_NO_INDEX;
    int sound = 1;
    for (uint32_t i = 0; i < rows; i++) {
        uint32_t index = (uint32_t)partition_key_indices[i];
        highest = index > highest ? index : highest;
        all_without &= (uint32_t)explicit_hash_key_indices[i];
        partition_key_indices[i] = (int32_t)(index + (uint32_t)columns->first_partition_key);
    }
    if (rows && highest >= walk->found.partition_keys) return 0;
    if (all_without == SP_NO_INDEX) return 1;
    for (uint32_t i = 0; i < rows && sound; i++) {
        uint32_t index = (uint32_t)explicit_hash_key_indices[i];
        if (index == SP_NO_INDEX) continue;
        sound = check_explicit_hash_key(walk, index) == SP_WELL_FORMED;
        if (sound) explicit_hash_key_indices[i] += columns->first_explicit_hash_key;
    }
    forget_numbers(walk);
    return sound;
}

sp_outcome sp_walk_columns(sp_walk *walk, sp_columns *columns, sp_finding *finding) {
    sp_outcome outcome = walk_on(walk, NULL, columns, finding);
    if (outcome != SP_WALKED) return outcome;
    if (!check_rows(walk, columns)) return SP_FAULT;
    int32_t *sub_sequence_numbers = columns->sub_sequence_numbers + columns->count;
    int32_t *parents = columns->parents + columns->count;
    int32_t rows = (int32_t)walk->found.records, parent = columns->parent;
    for (int32_t i = 0; i < rows; i++) {
        sub_sequence_numbers[i] = i;
        parents[i] = parent;
    }
    columns->count += walk->found.records;
    return SP_WALKED;
}
