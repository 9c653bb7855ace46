#include "compressed.h"

enum { MAGIC_SIZE = 4, BLOCK_HEADER_SIZE = 3, CHECKSUM_SIZE = 4, SKIPPABLE_HEADER_SIZE = 8 };
enum { SINGLE_SEGMENT = 1 << 5, RESERVED = 1 << 3, CHECKSUM = 1 << 2, DICTIONARY = 3 };
enum { RLE_BLOCK = 1, RESERVED_BLOCK = 3 };

#define ZSTD_MAGIC 0xfd2fb528U
#define SKIPPABLE_MAGIC 0x184d2a50U /* and the 15 behind it */

static uint64_t little_endian(const uint8_t *p, size_t n) {
    uint64_t value = 0;
    while (n--) value = value << 8 | p[n];
    return value;
}

static inline size_t left(const sp_cursor *in) {
    return (size_t)(in->end - in->p);
}

/* Past the header of a frame with all that is demanded. */
static sp_frame_fault read_frame_header(sp_cursor *in, size_t message_size) {
    if (left(in) < MAGIC_SIZE + 1) return SP_FRAME_CUT_OFF;
    if (little_endian(in->p, MAGIC_SIZE) != ZSTD_MAGIC) return SP_NO_FRAME;
    uint8_t descriptor = in->p[MAGIC_SIZE];
    if (descriptor & RESERVED) return SP_NO_FRAME;
    if (descriptor & DICTIONARY) return SP_WITH_DICTIONARY;
    if (!(descriptor & CHECKSUM)) return SP_NO_CHECKSUM;
    size_t window = !(descriptor & SINGLE_SEGMENT);                            /* bytes of a window descriptor */
    size_t width = descriptor >> 6 ? (size_t)1 << (descriptor >> 6) : !window; /* of the content's size */
    if (!width) return SP_OTHER_SIZE;
    if (left(in) < MAGIC_SIZE + 1 + window + width) return SP_FRAME_CUT_OFF;
    uint64_t size = little_endian(in->p + MAGIC_SIZE + 1 + window, width) + (width == 2 ? 256 : 0);
    if (size != message_size) return SP_OTHER_SIZE;
    in->p += MAGIC_SIZE + 1 + window + width;
    return SP_SOUND;
}

/* Past the blocks and the checksum. */
static sp_frame_fault skip_blocks(sp_cursor *in) {
    for (uint64_t header = 0; !(header & 1);) {
        if (left(in) < BLOCK_HEADER_SIZE) return SP_FRAME_CUT_OFF;
        header = little_endian(in->p, BLOCK_HEADER_SIZE);
        unsigned type = header >> 1 & 3;
        if (type == RESERVED_BLOCK) return SP_BAD_BLOCK;
        size_t size = type == RLE_BLOCK ? 1 : (size_t)(header >> 3);
        if (size > left(in) - BLOCK_HEADER_SIZE) return SP_FRAME_CUT_OFF;
        in->p += BLOCK_HEADER_SIZE + size;
    }
    if (left(in) < CHECKSUM_SIZE) return SP_FRAME_CUT_OFF;
    in->p += CHECKSUM_SIZE;
    return SP_SOUND;
}

static int is_padding(const sp_cursor *in) {
    if (left(in) == 0) return 1;
    return left(in) >= SKIPPABLE_HEADER_SIZE && (little_endian(in->p, MAGIC_SIZE) & ~(uint64_t)15) == SKIPPABLE_MAGIC &&
           little_endian(in->p + MAGIC_SIZE, 4) == left(in) - SKIPPABLE_HEADER_SIZE;
}

sp_compressed sp_compressed_read(sp_slice data) {
    sp_compressed found = {.offset = MAGIC_SIZE};
    sp_cursor in = sp_cursor_over(data);
    if (data.size < SP_COMPRESSED_HEADER_SIZE) {
        found.fault = SP_HEADER_CUT_OFF;
        return found;
    }
    found.message_size = (size_t)little_endian(data.data + MAGIC_SIZE + 1, 4);
    if (data.data[MAGIC_SIZE] != SP_COMPRESSED_VERSION) {
        found.fault = SP_OTHER_VERSION;
        return found;
    }
    found.offset = MAGIC_SIZE + 1;
    if (found.message_size == 0) {
        found.fault = SP_NO_MESSAGE;
    } else if (found.message_size > SP_MOST_MESSAGE_SIZE || (found.message_size - 1) / SP_MOST_RATIO >= data.size) {
        found.fault = SP_MESSAGE_TOO_LARGE;
    }
    if (found.fault) return found;
    in.p += SP_COMPRESSED_HEADER_SIZE;
    const uint8_t *start = in.p;
    found.fault = read_frame_header(&in, found.message_size);
    if (!found.fault) found.fault = skip_blocks(&in);
    found.frame = (sp_slice){start, (size_t)(in.p - start)};
    if (!found.fault && !is_padding(&in)) found.fault = SP_BAD_PADDING;
    found.offset = (size_t)(in.p - data.data);
    return found;
}
