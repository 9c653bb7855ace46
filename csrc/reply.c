#include "reply.h"

#include <stdlib.h>

#include "growth.h"
#include "json_reader.h"

static const sp_place NOWHERE = {SIZE_MAX, 0};

/* --- members of a record --- */

static int name_is(const sp_json_string *name, const char *expected) {
    return !name->is_escaped && name->text.size == strlen(expected) &&
           memcmp(name->text.data, expected, name->text.size) == 0;
}

/* The place of a member that was not there yet, or NULL. */
static sp_place *place_of(sp_place *member) {
    return member->offset == SIZE_MAX ? member : NULL;
}

static int read_data(sp_cursor *in, sp_base64_decode_fn *decode, sp_reply *reply, sp_place *place) {
    sp_slice text;
    if (!place || !sp_json_read_to_quote(in, &text)) return 0;
    size_t size = decode(text.data, text.size, reply->memory + reply->size);
    if (size == SIZE_MAX) return 0;
    *place = (sp_place){reply->size, size};
    reply->size += size;
    return 1;
}

static void keep(sp_reply *reply, const sp_json_string *string, sp_place *place) {
    uint8_t *out = reply->memory + reply->size;
    size_t size = string->text.size;
    if (string->is_escaped) {
        size = sp_json_unescape(string, out);
    } else if (size) {
        memcpy(out, string->text.data, size);
    }
    *place = (sp_place){reply->size, size};
    reply->size += size;
}

static int read_text(sp_cursor *in, sp_reply *reply, sp_place *place) {
    sp_json_string string;
    if (!place || !sp_json_read_string(in, &string)) return 0;
    keep(reply, &string, place);
    return 1;
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

static int read_arrival(sp_cursor *in, sp_reply *reply, sp_place *place) {
    sp_json_string written = {0};
    if (!place || !sp_json_read_number(in, &written.text) || !is_of_this_age(written.text)) return 0;
    keep(reply, &written, place);
    return 1;
}

static int read_member(sp_cursor *in, sp_base64_decode_fn *decode, sp_reply *reply, sp_reply_record *record) {
    sp_json_string name;
    if (!sp_json_read_name(in, &name)) return 0;
    if (name_is(&name, "Data")) return read_data(in, decode, reply, place_of(&record->data));
    if (name_is(&name, "PartitionKey")) return read_text(in, reply, place_of(&record->partition_key));
    if (name_is(&name, "SequenceNumber")) return read_text(in, reply, place_of(&record->sequence_number));
    if (name_is(&name, "EncryptionType")) return read_text(in, reply, place_of(&record->encryption_type));
    return name_is(&name, "ApproximateArrivalTimestamp") && read_arrival(in, reply, place_of(&record->arrival));
}

/* --- the array, and what is around it --- */

static int read_record(sp_cursor *in, sp_base64_decode_fn *decode, sp_reply *reply, sp_reply_record *record) {
    *record = (sp_reply_record){NOWHERE, NOWHERE, NOWHERE, NOWHERE, NOWHERE};
    int more = sp_json_take(in, '{') ? 1 : -1;
    while (more > 0) more = read_member(in, decode, reply, record) ? sp_json_more(in, '}') : -1;
    return more == 0 && record->data.offset != SIZE_MAX;
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
        if (!read_record(in, decode, reply, &reply->records[reply->count])) return SP_REPLY_FOREIGN;
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
        if (!name_is(&name, "Records")) {
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
    if (body.size == 0) return SP_REPLY_FOREIGN;
    /* Whatever is kept is shorter where it is kept. What is not touched of this costs nothing, and goes back. */
    reply->memory = malloc(body.size);
    if (!reply->memory) return SP_REPLY_NO_MEMORY;
    sp_reply_outcome outcome = read_body(body, decode, reply);
    if (outcome == SP_REPLY_READ) {
        uint8_t *fitting = realloc(reply->memory, reply->size + 1);
        if (fitting) reply->memory = fitting;
    }
    return outcome;
}

void sp_reply_free(sp_reply *reply) {
    free(reply->memory);
    free(reply->records);
    *reply = (sp_reply){0};
}
