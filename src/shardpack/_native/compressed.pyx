"""Compressed aggregates in, their messages out; what may be unpacked is csrc/compressed."""

from libc.stdlib cimport free, malloc

from .keys cimport SHORT_WORK, sp_slice
from .large_blocks cimport LARGEST_EXPECTED, sp_expect_large_blocks
from .slices cimport bytes_of_slice


cdef extern from "compressed.h" nogil:
    enum: SP_COMPRESSED_HEADER_SIZE
    enum: SP_MOST_MESSAGE_SIZE
    enum: SP_MOST_RATIO
    ctypedef enum sp_frame_fault:
        SP_SOUND
        SP_HEADER_CUT_OFF
        SP_OTHER_VERSION
        SP_NO_MESSAGE
        SP_MESSAGE_TOO_LARGE
        SP_NO_FRAME
        SP_WITH_DICTIONARY
        SP_NO_CHECKSUM
        SP_OTHER_SIZE
        SP_BAD_BLOCK
        SP_FRAME_CUT_OFF
        SP_BAD_PADDING
    ctypedef struct sp_compressed:
        sp_slice frame
        size_t message_size
        sp_frame_fault fault
        size_t offset
    sp_compressed sp_compressed_read(sp_slice data)


cdef enum:
    BLOCKS_BYTES_A_NANOSECOND = 1  # of blocks without content; all others take less
    LARGE_MESSAGES = 1024 * 1024  # bytes of them; where they are told of, all that is unpacked takes 0.7 times as long

cdef dict WHAT_IS_WRONG = {
    SP_HEADER_CUT_OFF: "it is shorter than its header",
    SP_OTHER_VERSION: "it has another version, which needs a newer shardpack",
    SP_NO_MESSAGE: "it holds a message of no bytes",
    SP_NO_FRAME: "no zstd frame follows the header",
    SP_WITH_DICTIONARY: "its zstd frame needs a dictionary",
    SP_NO_CHECKSUM: "its zstd frame has no checksum",
    SP_OTHER_SIZE: "its zstd frame has another size than the header says",
    SP_BAD_BLOCK: "its zstd frame has a block of no known type",
    SP_FRAME_CUT_OFF: "its zstd frame is cut off",
    SP_BAD_PADDING: "something else than padding follows its zstd frame",
}


cdef tuple error_arguments(object what, size_t offset):
    return f"malformed compressed aggregate: {what} (byte {offset})", offset, 0


cdef object what_is_wrong(const sp_compressed *found, sp_slice record):
    if found.fault == SP_MESSAGE_TOO_LARGE:
        most = min(<size_t>SP_MOST_MESSAGE_SIZE, SP_MOST_RATIO * record.size)
        return f"it unpacks to {found.message_size:,} bytes, and {most:,} are the most of {record.size:,}"
    return WHAT_IS_WRONG[found.fault]


cdef list messages_of(const sp_slice *records, size_t n):
    """The message of each compressed aggregate, or the arguments of a ``MalformedRecordError``.

    The work is handed to zstd's library many at a time. Without one, none can be read.
    """
    cdef sp_compressed *found = <sp_compressed *>malloc((n + 1) * sizeof(sp_compressed))
    cdef list messages = [], frames = [], sizes = []
    cdef size_t i, size = 0, unpacked_size = 0
    if found == NULL:
        raise MemoryError
    try:
        for i in range(n):
            size += records[i].size
        if size // BLOCKS_BYTES_A_NANOSECOND >= SHORT_WORK:
            with nogil:
                for i in range(n):
                    found[i] = sp_compressed_read(records[i])
        else:
            for i in range(n):
                found[i] = sp_compressed_read(records[i])
        for i in range(n):
            if found[i].fault == SP_SOUND:
                frames.append(bytes_of_slice(found[i].frame))
                sizes.append(found[i].message_size)
                unpacked_size += found[i].message_size
        if unpacked_size >= LARGE_MESSAGES:
            sp_expect_large_blocks(LARGEST_EXPECTED)
        unpacked = iter(contents_of(frames, sizes))
        for i in range(n):
            if found[i].fault != SP_SOUND:
                messages.append(error_arguments(what_is_wrong(&found[i], records[i]), found[i].offset))
                continue
            message = next(unpacked)
            if not isinstance(message, bytes):
                message = error_arguments(message, SP_COMPRESSED_HEADER_SIZE)
            elif <size_t>len(<bytes>message) != found[i].message_size:
                message = error_arguments(WHAT_IS_WRONG[SP_OTHER_SIZE], SP_COMPRESSED_HEADER_SIZE)
            messages.append(message)
    finally:
        free(found)
    return messages


cdef object contents_of(list frames, list sizes):
    if not frames:
        return frames
    from ..codec.zstd import library  # who has none of them does without
    try:
        zstd = library()
    except ImportError as error:
        return [str(error)] * len(frames)
    return zstd.decompress_many(frames, sizes)
