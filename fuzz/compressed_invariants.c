/* libFuzzer target: what csrc/compressed promises of a record that starts with the magic.
 *
 * The input is what follows magic and version, in an allocation of exactly its size. What is sound ends where it says:
 * a byte less or more is not, and so it is with padding, of which one piece may follow.
 */
#include <stdlib.h>

#include "compressed.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t PADDING[] = {0x53, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 'a', 'b'};

static void demand(int holds) {
    if (!holds) abort();
}

static sp_compressed read_with(const uint8_t *record, size_t size, const uint8_t *more, size_t more_size) {
    uint8_t *whole = malloc(size + more_size);
    demand(whole != NULL);
    memcpy(whole, record, size);
    if (more_size) memcpy(whole + size, more, more_size);
    sp_compressed found = sp_compressed_read((sp_slice){whole, size + more_size});
    demand(found.offset <= size + more_size);
    if (found.frame.size) demand(found.frame.data == whole + SP_COMPRESSED_HEADER_SIZE);
    demand(found.frame.size <= size + more_size);
    found.frame.data = NULL;
    free(whole);
    return found;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    uint8_t *record = malloc(size + 5);
    demand(record != NULL);
    memcpy(record, SP_COMPRESSED_MAGIC "\x01", 5);
    if (size) memcpy(record + 5, data, size);
    size += 5;
    demand(sp_is_compressed((sp_slice){record, size}));
    sp_compressed found = read_with(record, size, NULL, 0);
    if (found.fault == SP_SOUND) {
        size_t end = SP_COMPRESSED_HEADER_SIZE + found.frame.size;
        demand(found.message_size > 0 && found.message_size <= SP_MOST_MESSAGE_SIZE);
        demand(found.message_size <= SP_MOST_RATIO * size && found.offset == end);
        int padded = end < size;
        demand(read_with(record, size - 1, NULL, 0).fault != SP_SOUND);
        demand(read_with(record, size, (const uint8_t *)"", 1).fault == SP_BAD_PADDING);
        demand(read_with(record, size, PADDING, sizeof PADDING).fault == (padded ? SP_BAD_PADDING : SP_SOUND));
        demand(read_with(record, size, PADDING, sizeof PADDING - 1).fault == SP_BAD_PADDING);
        for (size_t cut = SP_COMPRESSED_HEADER_SIZE; cut < end; cut += 1 + end / 16) {
            sp_frame_fault fault = read_with(record, cut, NULL, 0).fault;
            demand(fault == SP_FRAME_CUT_OFF || fault == SP_MESSAGE_TOO_LARGE);
        }
        record[4] ^= 2;
        demand(read_with(record, size, NULL, 0).fault == SP_OTHER_VERSION);
    }
    free(record);
    return 0;
}
