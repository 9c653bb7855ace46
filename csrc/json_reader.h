/* JSON (RFC 8259) read where it lies, through a bounded cursor: nothing is allocated, nothing recurses, no read leaves
 * the cursor whatever the bytes say.
 *
 * As strict as the RFC: no NaN, no comma too many, no control character in a string, no unknown escape, no half of a
 * surrogate pair, no byte that is not UTF-8. Where Python's json takes more, the caller leaves the text to it.
 */
#ifndef SP_JSON_READER_H
#define SP_JSON_READER_H

#include "json_text.h"
#include "slice.h"
#include "utf8.h"

enum {
    SP_JSON_MOST_DEPTH = 64,  /* arrays and objects in one another that are skipped */
    SP_JSON_MOST_DIGITS = 64, /* characters of a number; Python refuses integers from 4,300 digits on */
};

/* A string where it lies, without its quotes. */
typedef struct {
    sp_slice text;
    int is_escaped; /* it has escapes, and sp_json_unescape makes the text */
} sp_json_string;

/* Each read skips whitespace first. It returns 1 and is behind what it read, or 0, and then the cursor is of no use. */

static inline void sp_json_skip_space(sp_cursor *in) {
    while (in->p != in->end && (*in->p == ' ' || *in->p == '\n' || *in->p == '\r' || *in->p == '\t')) in->p++;
}

/* The byte that is next after whitespace, where it stays: '{', '[' or '"', a digit or '-', 't', 'f' or 'n'; 0 at the
 * end, and for a byte 0. */
static inline uint8_t sp_json_next(sp_cursor *in) {
    sp_json_skip_space(in);
    return in->p == in->end ? 0 : *in->p;
}

/* One of { } [ ] : and comma. */
static inline int sp_json_take(sp_cursor *in, char mark) {
    if (sp_json_next(in) != (uint8_t)mark) return 0;
    in->p++;
    return 1;
}

/* Is nothing left but whitespace? */
static inline int sp_json_at_end(sp_cursor *in) {
    sp_json_skip_space(in);
    return in->p == in->end;
}

/* Four hexadecimal digits, or -1. */
static inline int32_t sp_json_hex4(const uint8_t *p, const uint8_t *end) {
    int32_t value = 0;
    if (end - p < 4) return -1;
    for (int i = 0; i < 4; i++) {
        uint8_t lower = p[i] | 0x20;
        int32_t digit = p[i] >= '0' && p[i] <= '9' ? p[i] - '0' : lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
        if (digit < 0) return -1;
        value = value << 4 | digit;
    }
    return value;
}

/* The bytes of the escape that `p` starts with, its backslash, and the character that it means; 0 where it is none. */
static inline size_t sp_json_escape(const uint8_t *p, const uint8_t *end, uint32_t *character) {
    static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    if (end - p < 2) return 0;
    if (p[1] != 'u') {
        const char *letter = p[1] ? strchr(letters, p[1]) : NULL;
        if (!letter) return 0;
        *character = (uint8_t)meanings[letter - letters];
        return 2;
    }
    int32_t unit = sp_json_hex4(p + 2, end);
    if (unit < 0) return 0;
    *character = (uint32_t)unit;
    if (unit < 0xd800 || unit > 0xdfff) return 6;
    if (unit > 0xdbff || end - p < 12 || p[6] != '\\' || p[7] != 'u') return 0;
    int32_t low = sp_json_hex4(p + 8, end);
    if (low < 0xdc00 || low > 0xdfff) return 0;
    *character = 0x10000 + ((uint32_t)(unit - 0xd800) << 10) + (uint32_t)(low - 0xdc00);
    return 12;
}

static inline int sp_json_read_string(sp_cursor *in, sp_json_string *string) {
    if (!sp_json_take(in, '"')) return 0;
    const uint8_t *p = in->p;
    string->is_escaped = 0;
    while (p != in->end && *p != '"') {
        size_t size;
        uint64_t eight;
        if (in->end - p >= 8 && (eight = sp_load64(p), !(eight & 0x8080808080808080) && sp_json_are_plain(eight))) {
            p += 8;
            continue;
        }
        if (*p == '\\') {
            uint32_t character;
            size = sp_json_escape(p, in->end, &character);
            string->is_escaped = 1;
        } else {
            size = *p < 0x20 ? 0 : sp_utf8_character(p, in->end);
        }
        if (size == 0) return 0;
        p += size;
    }
    if (p == in->end) return 0;
    string->text = (sp_slice){in->p, (size_t)(p - in->p)};
    in->p = p + 1;
    return 1;
}

/* Is it this text, written without escapes? */
static inline int sp_json_is(const sp_json_string *string, const char *text) {
    return !string->is_escaped && string->text.size == strlen(text) &&
           memcmp(string->text.data, text, string->text.size) == 0;
}

static inline uint8_t *sp_json_write_character(uint8_t *out, uint32_t character) {
    if (character < 0x80) {
        *out++ = (uint8_t)character;
        return out;
    }
    if (character < 0x800) {
        *out++ = (uint8_t)(0xc0 | character >> 6);
    } else {
        if (character < 0x10000) {
            *out++ = (uint8_t)(0xe0 | character >> 12);
        } else {
            *out++ = (uint8_t)(0xf0 | character >> 18);
            *out++ = (uint8_t)(0x80 | (character >> 12 & 0x3f));
        }
        *out++ = (uint8_t)(0x80 | (character >> 6 & 0x3f));
    }
    *out++ = (uint8_t)(0x80 | (character & 0x3f));
    return out;
}

/* Write the text of a string that was read as UTF-8 to `out`, which has room for `string->text.size` bytes: an escape
 * is longer than what it means. Returns the bytes written. */
static inline size_t sp_json_unescape(const sp_json_string *string, uint8_t *out) {
    const uint8_t *p = string->text.data, *end = p + string->text.size;
    uint8_t *start = out;
    while (p != end) {
        uint32_t character = *p;
        if (*p != '\\') {
            *out++ = *p++;
            continue;
        }
        size_t size = sp_json_escape(p, end, &character);
        if (size == 0) break; /* it was not read */
        out = sp_json_write_character(out, character);
        p += size;
    }
    return (size_t)(out - start);
}

static inline int sp_json_read_digits(sp_cursor *in) {
    const uint8_t *start = in->p;
    while (in->p != in->end && *in->p >= '0' && *in->p <= '9') in->p++;
    return in->p != start;
}

/* A number of at most SP_JSON_MOST_DIGITS characters, as it is written. */
static inline int sp_json_read_number(sp_cursor *in, sp_slice *text) {
    sp_json_skip_space(in);
    const uint8_t *start = in->p;
    if (in->p != in->end && *in->p == '-') in->p++;
    const uint8_t *first = in->p;
    if (!sp_json_read_digits(in)) return 0;
    if (*first == '0' && in->p - first > 1) return 0;
    if (in->p != in->end && *in->p == '.') {
        in->p++;
        if (!sp_json_read_digits(in)) return 0;
    }
    if (in->p != in->end && (*in->p == 'e' || *in->p == 'E')) {
        in->p++;
        if (in->p != in->end && (*in->p == '+' || *in->p == '-')) in->p++;
        if (!sp_json_read_digits(in)) return 0;
    }
    *text = (sp_slice){start, (size_t)(in->p - start)};
    return text->size <= SP_JSON_MOST_DIGITS;
}

/* true, false or null, and nothing behind it that makes another word of it. */
static inline int sp_json_read_word(sp_cursor *in, const char *word) {
    size_t size = strlen(word);
    sp_json_skip_space(in);
    if ((size_t)(in->end - in->p) < size || memcmp(in->p, word, size) != 0) return 0;
    in->p += size;
    return 1;
}

static inline int sp_json_skip_scalar(sp_cursor *in) {
    sp_json_string string;
    sp_slice number;
    switch (sp_json_next(in)) {
    case '"':
        return sp_json_read_string(in, &string);
    case 't':
        return sp_json_read_word(in, "true");
    case 'f':
        return sp_json_read_word(in, "false");
    case 'n':
        return sp_json_read_word(in, "null");
    default:
        return sp_json_read_number(in, &number);
    }
}

/* A member's name and its colon. */
static inline int sp_json_read_name(sp_cursor *in, sp_json_string *name) {
    return sp_json_read_string(in, name) && sp_json_take(in, ':');
}

/* What comes after an item of an array or a member of an object that ends with `close`: 1 and behind the comma where
 * another one has to follow, 0 and behind `close` at the end, -1 else. */
static inline int sp_json_more(sp_cursor *in, char close) {
    if (sp_json_take(in, ',')) return 1;
    return sp_json_take(in, close) ? 0 : -1;
}

/* Any value, with at most SP_JSON_MOST_DEPTH arrays and objects in one another. */
static inline int sp_json_skip(sp_cursor *in) {
    char closes[SP_JSON_MOST_DEPTH];
    unsigned depth = 0;
    sp_json_string name;
    for (;;) {
        uint8_t next = sp_json_next(in);
        if (next == '{' || next == '[') {
            char close = next == '{' ? '}' : ']';
            in->p++;
            if (!sp_json_take(in, close)) {
                if (depth == SP_JSON_MOST_DEPTH) return 0;
                closes[depth++] = close;
                if (close == '}' && !sp_json_read_name(in, &name)) return 0;
                continue;
            }
        } else if (!sp_json_skip_scalar(in)) {
            return 0;
        }
        /* a value ended; perhaps it was the last of what it is in, and so on outwards */
        int more = 0;
        while (depth && (more = sp_json_more(in, closes[depth - 1])) == 0) depth--;
        if (depth == 0) return 1;
        if (more < 0 || (closes[depth - 1] == '}' && !sp_json_read_name(in, &name))) return 0;
    }
}

#endif
