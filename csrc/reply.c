#include "reply.h"

#include <stdlib.h>

#include "growth.h"
#include "json_reader.h"

static const sp_place NOWHERE = {SIZE_MAX, 0};

/* --- members of a record --- */

/* The place of a member that was not there yet, or NULL. */
static sp_place *place_of(sp_place *member) {
    return member->offset == SIZE_MAX ? member : NULL;
}

/* Where to write up to `size` bytes more, or NULL without memory. */
static uint8_t *room_for(sp_reply *reply, size_t size) {
    if (size > reply->room - reply->size) {
        void *grown = sp_grown(reply->memory, &reply->room, reply->size + size, 1, size);
        if (!grown) return NULL;
        reply->memory = grown;
    }
    return reply->memory + reply->size;
}

/* Text is looked for its end and decoded a piece at a time, while the nearest cache has it. */
enum { PIECE = 16 * 1024 };

static sp_reply_outcome read_data(sp_cursor *in, sp_base64_decode_fn *decode, sp_reply *reply, sp_place *place) {
    if (!place || !sp_json_take(in, '"')) return SP_REPLY_FOREIGN;
    size_t start = reply->size;
    for (;;) {
        size_t left = (size_t)(in->end - in->p), piece = left < PIECE ? left : PIECE;
        const uint8_t *quote = piece ? memchr(in->p, '"', piece) : NULL;
        if (!quote && left <= PIECE) return SP_REPLY_FOREIGN;
        if (quote) piece = (size_t)(quote - in->p);
        uint8_t *out = room_for(reply, piece / 4 * 3);
        if (!out) return SP_REPLY_NO_MEMORY;
        size_t size = decode(in->p, piece, out);
        /* padding comes at the end only */
        if (size == SIZE_MAX || (!quote && size != PIECE / 4 * 3)) return SP_REPLY_FOREIGN;
        reply->size += size;
        in->p += piece;
        if (quote) break;
    }
    in->p++;
    *place = (sp_place){start, reply->size - start};
    return SP_REPLY_READ;
}

static sp_reply_outcome keep(sp_reply *reply, const sp_json_string *string, sp_place *place) {
    size_t size = string->text.size;
    uint8_t *out = room_for(reply, size);
    if (!out) return SP_REPLY_NO_MEMORY;
    if (string->is_escaped) {
        size = sp_json_unescape(string, out);
    } else if (size) {
        memcpy(out, string->text.data, size);
    }
    *place = (sp_place){reply->size, size};
    reply->size += size;
    return SP_REPLY_READ;
}

static sp_reply_outcome read_text(sp_cursor *in, sp_reply *reply, sp_place *place) {
    sp_json_string string;
    return place && sp_json_read_string(in, &string) ? keep(reply, &string, place) : SP_REPLY_FOREIGN;
}

/* Is a number, as JSON writes it, below 10^SP_MOST_SECOND_DIGITS, and not below 0? */
static int is_of_this_age(sp_slice number) {
    const uint8_t *p = number.data, *end = p + number.size;
    int digits = 0, exponent = 0;
    if (*p == '-') return 0;
    while (p != end && *p >= '0' && *p <= '9') p++, digits++;
    if (p != end && *p == '.') p++;
    while (p != end && *p >= '0' && *p <= '9') p++;
    if (p != end) { /* e or E */
        p++;
        if (*p == '-') return 0;
        if (*p == '+') p++;
        while (p != end && exponent < 100) exponent = exponent * 10 + (*p++ - '0');
    }
    return digits + exponent <= SP_MOST_SECOND_DIGITS;
}

static sp_reply_outcome read_arrival(sp_cursor *in, sp_reply *reply, sp_place *place) {
    sp_json_string written = {0};
    if (!place || !sp_json_read_number(in, &written.text) || !is_of_this_age(written.text)) return SP_REPLY_FOREIGN;
    return keep(reply, &written, place);
}

static sp_reply_outcome read_member(sp_cursor *in, sp_base64_decode_fn *decode, sp_reply *reply,
                                    sp_reply_record *record) {
    sp_json_string name;
    if (!sp_json_read_name(in, &name)) return SP_REPLY_FOREIGN;
    if (sp_json_is(&name, "Data")) return read_data(in, decode, reply, place_of(&record->data));
    if (sp_json_is(&name, "PartitionKey")) return read_text(in, reply, place_of(&record->partition_key));
    if (sp_json_is(&name, "SequenceNumber")) return read_text(in, reply, place_of(&record->sequence_number));
    if (sp_json_is(&name, "EncryptionType")) return read_text(in, reply, place_of(&record->encryption_type));
    if (!sp_json_is(&name, "ApproximateArrivalTimestamp")) return SP_REPLY_FOREIGN;
    return read_arrival(in, reply, place_of(&record->arrival));
}

/* --- the array, and what is around it --- */

static sp_reply_outcome read_record(sp_cursor *in, sp_base64_decode_fn *decode, sp_reply *reply,
                                    sp_reply_record *record) {
    *record = (sp_reply_record){NOWHERE, NOWHERE, NOWHERE, NOWHERE, NOWHERE};
    int more = sp_json_take(in, '{') ? 1 : -1;
    while (more > 0) {
        sp_reply_outcome outcome = read_member(in, decode, reply, record);
        if (outcome != SP_REPLY_READ) return outcome;
        more = sp_json_more(in, '}');
    }
    return more == 0 && record->data.offset != SIZE_MAX ? SP_REPLY_READ : SP_REPLY_FOREIGN;
}

static sp_reply_outcome read_records(sp_cursor *in, sp_base64_decode_fn *decode, sp_reply *reply) {
    if (!sp_json_take(in, '[')) return SP_REPLY_FOREIGN;
    int more = !sp_json_take(in, ']');
    while (more > 0) {
        if (reply->count == reply->capacity) {
            size_t capacity = reply->capacity;
            void *grown = sp_grown(reply->records, &capacity, reply->count + 1, sizeof(sp_reply_record), 64);
            if (!grown) return SP_REPLY_NO_MEMORY;
            reply->records = grown;
            reply->capacity = capacity;
        }
        sp_reply_outcome outcome = read_record(in, decode, reply, &reply->records[reply->count]);
        if (outcome != SP_REPLY_READ) return outcome;
        reply->count++;
        more = sp_json_more(in, ']');
    }
    return more < 0 ? SP_REPLY_FOREIGN : SP_REPLY_READ;
}

static sp_reply_outcome read_body(sp_slice body, sp_base64_decode_fn *decode, sp_reply *reply) {
    sp_cursor in = sp_cursor_over(body);
    int more = sp_json_take(&in, '{') ? 1 : -1;
    while (more > 0) {
        sp_json_string name;
        if (!sp_json_read_name(&in, &name) || name.is_escaped) return SP_REPLY_FOREIGN;
        if (!sp_json_is(&name, "Records")) {
            if (!sp_json_skip(&in)) return SP_REPLY_FOREIGN;
        } else {
            if (reply->array_end) return SP_REPLY_FOREIGN; /* twice */
            sp_json_skip_space(&in);
            reply->array_start = (size_t)(in.p - body.data);
            sp_reply_outcome outcome = read_records(&in, decode, reply);
            if (outcome != SP_REPLY_READ) return outcome;
            reply->array_end = (size_t)(in.p - body.data);
        }
        more = sp_json_more(&in, '}');
    }
    return more == 0 && reply->array_end && sp_json_at_end(&in) ? SP_REPLY_READ : SP_REPLY_FOREIGN;
}

sp_reply_outcome sp_reply_read(sp_slice body, sp_base64_decode_fn *decode, sp_reply *reply) {
    *reply = (sp_reply){0};
    /* What is decoded is shorter by a quarter; room for long texts is made when they are there. */
    return room_for(reply, body.size / 4 * 3 + 1) ? read_body(body, decode, reply) : SP_REPLY_NO_MEMORY;
}

void sp_reply_free(sp_reply *reply) {
    free(reply->memory);
    free(reply->records);
    *reply = (sp_reply){0};
}
