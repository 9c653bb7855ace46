/* The compressed aggregate: what of it can be told before it is unpacked.
 *
 *     F5 53 50 5A, 01, size of the message (4 bytes, little-endian), zstd frame, padding
 *
 * The frame has the message's size in its header, a checksum behind it and no dictionary; padding is nothing or one
 * skippable frame. So what unpacking takes of memory is known, and bounded by what was received.
 * Source of both kinds of frame: RFC 8878, 3.1. What is in its blocks is for a library to say.
 */
#ifndef SP_COMPRESSED_H
#define SP_COMPRESSED_H

#include "slice.h"

#define SP_COMPRESSED_MAGIC "\xf5SPZ"
enum {
    SP_COMPRESSED_VERSION = 1,
    SP_COMPRESSED_HEADER_SIZE = 9,
    SP_MOST_RATIO = 64, /* bytes of message to a byte of record */
    SP_MOST_MESSAGE_SIZE = 64 * 1024 * 1024,
};

typedef enum {
    SP_SOUND = 0, /* as far as can be told */
    SP_HEADER_CUT_OFF,
    SP_OTHER_VERSION,
    SP_NO_MESSAGE,
    SP_MESSAGE_TOO_LARGE,
    SP_NO_FRAME, /* no magic of zstd, or a bit set that RFC 8878 reserves */
    SP_WITH_DICTIONARY,
    SP_NO_CHECKSUM,
    SP_OTHER_SIZE, /* than the record says, or none */
    SP_BAD_BLOCK,  /* of the reserved type */
    SP_FRAME_CUT_OFF,
    SP_BAD_PADDING, /* something behind the frame that is not one skippable frame */
} sp_frame_fault;

typedef struct {
    sp_slice frame; /* without the padding */
    size_t message_size;
    sp_frame_fault fault;
    size_t offset; /* in the record, of what is at fault */
} sp_compressed;

static inline int sp_is_compressed(sp_slice data) {
    return data.size >= 4 && memcmp(data.data, SP_COMPRESSED_MAGIC, 4) == 0;
}

/* Read what starts with the magic. Takes time for each block of the frame, of which there is one to 3 bytes at most. */
sp_compressed sp_compressed_read(sp_slice data);

#endif
