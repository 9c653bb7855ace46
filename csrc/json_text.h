/* Which bytes of a text JSON (RFC 8259) has as they are: all but control characters, quotes and backslashes. */
#ifndef SP_JSON_TEXT_H
#define SP_JSON_TEXT_H

#include "slice.h"

static inline int sp_json_is_plain(uint8_t byte) {
    return byte >= 0x20 && byte != '"' && byte != '\\';
}

/* Are all of eight bytes? What is no ASCII is. */
static inline int sp_json_are_plain(uint64_t eight) {
    const uint64_t ones = 0x0101010101010101, tops = 0x8080808080808080;
    uint64_t quote = eight ^ ('"' * ones), backslash = eight ^ ('\\' * ones);
    uint64_t below = eight - 0x20 * ones;

    return (((below | (quote - ones) | (backslash - ones)) & ~eight) & tops) == 0;
}

#endif
