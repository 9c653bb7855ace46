/* libFuzzer target: what csrc/put_reply promises, whatever a proxy made of an answer.
 *
 * The input is how many records were sent, then the answer, in an allocation of exactly its size. Where it is read, the
 * array of records is written anew from what was found, and has to be as long without whitespace; and it is replaced by
 * an empty one, in which nothing is found any more.
 */
#include <stdlib.h>

#include "json_reader.h"
#include "put_reply.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MOST_RECORDS = 8, MEMBERS = sizeof "{\"ShardId\":\"\",\"SequenceNumber\":\"\"}" - 1 };

static void demand(int holds) {
    if (!holds) abort();
}

/* Text that needs no escape and lies in the array. */
static void check_text(sp_slice text, sp_slice array) {
    demand(text.data > array.data && text.data + text.size < array.data + array.size);
    demand(text.data[-1] == '"' && text.data[text.size] == '"' && sp_is_utf8(text));
    for (size_t i = 0; i < text.size; i++) demand(text.data[i] >= 0x20 && text.data[i] != '"' && text.data[i] != '\\');
}

/* The bytes of an array but for whitespace outside of strings. */
static size_t dense_size(sp_slice array) {
    size_t size = 0;
    int in_string = 0;
    for (size_t i = 0; i < array.size; i++) {
        uint8_t byte = array.data[i];
        if (byte == '"') in_string = !in_string;
        size += in_string || !(byte == ' ' || byte == '\n' || byte == '\r' || byte == '\t');
    }
    return size;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    sp_stored stored[MOST_RECORDS + 1], untouched;
    sp_slice array;
    if (size == 0) return 0;
    size_t count = data[0] % (MOST_RECORDS + 1), expected = count + 1;
    uint8_t *reply = malloc(size - 1 ? size - 1 : 1);
    demand(reply != NULL);
    memcpy(reply, data + 1, size - 1);
    memset(&stored[count], 0x5a, sizeof untouched);
    memset(&untouched, 0x5a, sizeof untouched);
    int is_read = sp_put_reply_read((sp_slice){reply, size - 1}, stored, count, &array);
    demand(memcmp(&stored[count], &untouched, sizeof untouched) == 0);
    if (is_read) {
        demand(count > 0 && array.data > reply && array.data + array.size < reply + size - 1);
        demand(array.data[0] == '[' && array.data[array.size - 1] == ']');
        for (size_t i = 0; i < count; i++) {
            check_text(stored[i].shard_id, array);
            check_text(stored[i].sequence_number, array);
            expected += MEMBERS + stored[i].shard_id.size + stored[i].sequence_number.size;
        }
        demand(dense_size(array) == expected);

        size_t before = (size_t)(array.data - reply), behind = size - 1 - before - array.size;
        uint8_t *rest = malloc(before + 2 + behind);
        demand(rest != NULL);
        memcpy(rest, reply, before);
        memcpy(rest + before, "[]", 2);
        memcpy(rest + before + 2, array.data + array.size, behind);
        sp_cursor in = sp_cursor_over((sp_slice){rest, before + 2 + behind});
        demand(sp_json_skip(&in) && sp_json_at_end(&in));
        demand(!sp_put_reply_read((sp_slice){rest, before + 2 + behind}, stored, count, &array));
        free(rest);
    }
    free(reply);
    return 0;
}
