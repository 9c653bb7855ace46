/* libFuzzer target: what csrc/reply promises, whatever a proxy made of a body.
 *
 * The input is a body, in an allocation of exactly its size. Where it is read, everything that was found lies behind
 * one another in the memory, and all of the body is JSON; with an empty array in the place of the one that was read,
 * nothing is found any more, and the rest is JSON still. Times are what the C library makes of their numbers.
 */
#include <math.h>
#include <stdlib.h>

#include "epoch_seconds.h"
#include "json_reader.h"
#include "reply.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(int holds) {
    if (!holds) abort();
}

/* Deeper than it is skipped it may be by one, in the outermost object. */
static int is_json(sp_slice text) {
    sp_cursor in = sp_cursor_over(text);
    size_t opened = 0;
    for (size_t i = 0; i < text.size; i++) opened += text.data[i] == '[' || text.data[i] == '{';
    return opened >= SP_JSON_MOST_DEPTH || (sp_json_skip(&in) && sp_json_at_end(&in));
}

/* How much of a place there is; it is inside of the memory. */
static size_t check_place(const sp_reply *reply, sp_place place) {
    if (place.offset == SIZE_MAX) return 0;
    demand(place.size <= reply->size && place.offset <= reply->size - place.size);
    return place.size;
}

static size_t check_text(const sp_reply *reply, sp_place place) {
    size_t size = check_place(reply, place);
    demand(size == 0 || sp_is_utf8(sp_reply_slice(reply, place)));
    return size;
}

/* What the C library makes of a number, where we make anything of it. */
static int is_microseconds(sp_slice number, int64_t found) {
    char text[SP_JSON_MOST_DIGITS + 1] = {0};
    memcpy(text, number.data, number.size);
    double whole, fraction = modf(strtod(text, NULL), &whole);
    return found < 0 || (whole < 1e10 && found == (int64_t)whole * 1000000 + llrint(fraction * 1e6));
}

static size_t check_arrival(const sp_reply *reply, sp_place place) {
    size_t size = check_place(reply, place);
    if (size == 0) return 0;
    sp_slice text = sp_reply_slice(reply, place), number;
    sp_cursor in = sp_cursor_over(text);
    demand(sp_json_read_number(&in, &number) && sp_json_at_end(&in) && *number.data != '-');
    demand(is_microseconds(text, sp_epoch_microseconds(text)));
    return size;
}

static void check(sp_slice body, const sp_reply *reply) {
    size_t total = 0;
    demand(reply->size <= reply->room && reply->size <= body.size);
    for (size_t i = 0; i < reply->count; i++) {
        const sp_reply_record *record = &reply->records[i];
        demand(record->data.offset != SIZE_MAX);
        total += check_place(reply, record->data) + check_text(reply, record->partition_key) +
                 check_text(reply, record->sequence_number) + check_text(reply, record->encryption_type) +
                 check_arrival(reply, record->arrival);
    }
    demand(total == reply->size);
    demand(reply->array_start < reply->array_end && reply->array_end < body.size);
    demand(body.data[reply->array_start] == '[' && body.data[reply->array_end - 1] == ']');
    demand(is_json(body));
}

static void check_rest(sp_slice body, const sp_reply *reply) {
    size_t behind = body.size - reply->array_end, size = reply->array_start + 2 + behind;
    uint8_t *rest = malloc(size);
    demand(rest != NULL);
    memcpy(rest, body.data, reply->array_start);
    memcpy(rest + reply->array_start, "[]", 2);
    memcpy(rest + reply->array_start + 2, body.data + reply->array_end, behind);
    sp_reply again;
    demand(is_json((sp_slice){rest, size}));
    demand(sp_reply_read((sp_slice){rest, size}, sp_base64_decode_portable, &again) == SP_REPLY_READ);
    demand(again.count == 0 && again.size == 0 && again.array_start == reply->array_start);
    sp_reply_free(&again);
    free(rest);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    uint8_t *copy = malloc(size ? size : 1);
    demand(copy != NULL);
    if (size) memcpy(copy, data, size);
    sp_slice body = {copy, size};
    sp_reply reply;
    sp_reply_outcome outcome = sp_reply_read(body, sp_base64_decode_portable, &reply);
    demand(outcome != SP_REPLY_NO_MEMORY);
    if (outcome == SP_REPLY_READ) {
        check(body, &reply);
        check_rest(body, &reply);
    }
    sp_reply_free(&reply);
    free(copy);
    return 0;
}
