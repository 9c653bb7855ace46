/* One walk, done twice: first it counts, then it writes. It recurs once for each level, and there are few. */
#include "cbor_json.h"

#include <string.h>

#include "cbor.h"
#include "json_text.h"
#include "utf8.h"

typedef struct {
    const uint8_t *p, *end;
    uint8_t *out; /* NULL while it is counted */
    size_t size;
    sp_to_base64 *to_base64;
} walk;

typedef struct {
    enum sp_cbor_type type;
    uint8_t form; /* the five bits beside the type */
    uint64_t number;
} head;

enum { TO_BREAK = 31, FALSE = 20, TRUE, NIL, UNDEFINED, HALF = 25, SINGLE, DOUBLE };

static void put(walk *w, const void *text, size_t size) {
    if (w->out && size) {
        memcpy(w->out, text, size);
        w->out += size;
    }
    w->size += size;
}

#define PUT(literal) put(w, literal, sizeof literal - 1)

static int read_head(walk *w, head *h) {
    if (w->p == w->end) return 0;
    h->type = (enum sp_cbor_type)(*w->p >> 5);
    h->form = *w->p++ & 31;
    h->number = h->form;
    if (h->form < 24 || h->form == TO_BREAK) return 1;
    if (h->form > 27) return 0;

    size_t size = (size_t)1 << (h->form - 24);
    if (size > (size_t)(w->end - w->p)) return 0;
    h->number = 0;
    for (size_t i = 0; i < size; i++) {
        h->number = h->number << 8 | *w->p++;
    }
    return 1;
}

static int at_break(walk *w) {
    if (w->p == w->end || *w->p != SP_CBOR_BREAK) return 0;
    w->p++;
    return 1;
}

static void put_number(walk *w, int negative, uint64_t number) {
    char digits[20];
    size_t i = sizeof digits;

    do {
        digits[--i] = (char)('0' + number % 10);
    } while (number /= 10);
    if (negative) PUT("-");
    put(w, digits + i, sizeof digits - i);
}

/* A float is 1 bit of sign, some of exponent and the rest of fraction: (1 + fraction) * 2^(exponent - bias). */
static int put_float(walk *w, uint64_t bits, unsigned exponent_bits, unsigned fraction_bits) {
    uint64_t fraction = bits & (((uint64_t)1 << fraction_bits) - 1);
    int exponent = (int)(bits >> fraction_bits & ((1u << exponent_bits) - 1));
    int negative = (int)(bits >> (fraction_bits + exponent_bits) & 1);
    int power = exponent - (1 << (exponent_bits - 1)) + 1; /* of the leading bit */

    if (exponent == 0 && fraction == 0) {
        put_number(w, 0, 0);
        return 1;
    }
    if (power < 0 || power > 52 || power == 1 << (exponent_bits - 1)) return 0; /* below 1, too large, no number */
    fraction |= (uint64_t)1 << fraction_bits;
    if (power < (int)fraction_bits) {
        unsigned behind = fraction_bits - (unsigned)power;

        if (fraction & (((uint64_t)1 << behind) - 1)) return 0;
        fraction >>= behind;
    } else {
        fraction <<= (unsigned)power - fraction_bits;
    }
    put_number(w, negative, fraction);
    return 1;
}

static int put_simple(walk *w, const head *h) {
    switch (h->form) {
    case FALSE:
        PUT("false");
        return 1;
    case TRUE:
        PUT("true");
        return 1;
    case NIL:
    case UNDEFINED:
        PUT("null");
        return 1;
    case HALF:
        return put_float(w, h->number, 5, 10);
    case SINGLE:
        return put_float(w, h->number, 8, 23);
    case DOUBLE:
        return put_float(w, h->number, 11, 52);
    default:
        return 0;
    }
}

/* The end of what goes as it is. */
static const uint8_t *plain_end(const uint8_t *p, const uint8_t *end) {
    while (end - p >= 8 && sp_json_are_plain(sp_load64(p))) {
        p += 8;
    }
    while (p < end && sp_json_is_plain(*p)) {
        p++;
    }
    return p;
}

static void put_escaped(walk *w, const uint8_t *p, const uint8_t *end) {
    static const char digits[] = "0123456789abcdef";

    for (;;) {
        const uint8_t *plain = plain_end(p, end);

        put(w, p, (size_t)(plain - p));
        if (plain == end) return;
        char escape[6] = {'\\', 'u', '0', '0', digits[*plain >> 4], digits[*plain & 15]};

        put(w, escape, sizeof escape);
        p = plain + 1;
    }
}

static int put_chunk(walk *w, enum sp_cbor_type type, uint64_t size) {
    if (size > (uint64_t)(w->end - w->p)) return 0;
    sp_slice chunk = {w->p, (size_t)size};

    w->p += chunk.size;
    if (type == SP_CBOR_TEXT) {
        if (!w->out && !sp_is_utf8(chunk)) return 0; /* once */
        put_escaped(w, chunk.data, w->p);
        return 1;
    }
    size_t characters = chunk.size / 3 * 4 + (chunk.size % 3 ? 4 : 0);
    if (w->out) {
        w->to_base64(chunk.data, chunk.size, w->out);
        w->out += characters;
    }
    w->size += characters;
    return 1;
}

/* A string as a whole, or in chunks up to a break; each chunk of text is UTF-8 by itself. */
static int put_string(walk *w, const head *h) {
    PUT("\"");
    if (h->form != TO_BREAK) {
        if (!put_chunk(w, h->type, h->number)) return 0;
    } else {
        for (int chunks = 0; !at_break(w); chunks++) {
            head chunk;

            if (!read_head(w, &chunk) || chunk.type != h->type || chunk.form == TO_BREAK) return 0;
            if (h->type == SP_CBOR_BYTES && chunks) return 0; /* base64 of parts is not that of the whole */
            if (!put_chunk(w, chunk.type, chunk.number)) return 0;
        }
    }
    PUT("\"");
    return 1;
}

static int put_item(walk *w, unsigned depth);

static int put_key(walk *w) {
    head key;

    return read_head(w, &key) && key.type == SP_CBOR_TEXT && put_string(w, &key);
}

static int put_items(walk *w, const head *h, unsigned depth) {
    int is_map = h->type == SP_CBOR_MAP;

    if (depth == SP_CBOR_DEPTH) return 0;
    put(w, is_map ? "{" : "[", 1);
    for (uint64_t i = 0; h->form == TO_BREAK ? !at_break(w) : i < h->number; i++) { /* each takes a byte at least */
        if (i) PUT(",");
        if (is_map) {
            if (!put_key(w)) return 0;
            PUT(":");
        }
        if (!put_item(w, depth + 1)) return 0;
    }
    put(w, is_map ? "}" : "]", 1);
    return 1;
}

static int put_item(walk *w, unsigned depth) {
    head h;

    if (!read_head(w, &h)) return 0;
    if (h.type == SP_CBOR_TAG && h.form == 1 && !read_head(w, &h)) return 0;
    if (h.form == TO_BREAK && (h.type < SP_CBOR_BYTES || h.type >= SP_CBOR_TAG)) return 0;
    switch (h.type) {
    case SP_CBOR_UNSIGNED:
        put_number(w, 0, h.number);
        return 1;
    case SP_CBOR_NEGATIVE: /* -1 - number */
        if (h.number == UINT64_MAX) return 0;
        put_number(w, 1, h.number + 1);
        return 1;
    case SP_CBOR_BYTES:
    case SP_CBOR_TEXT:
        return put_string(w, &h);
    case SP_CBOR_ARRAY:
    case SP_CBOR_MAP:
        return put_items(w, &h, depth);
    case SP_CBOR_SIMPLE:
        return put_simple(w, &h);
    case SP_CBOR_TAG:
    default:
        return 0;
    }
}

size_t sp_cbor_json_size(sp_slice cbor) {
    walk w = {.p = cbor.data, .end = cbor.data + cbor.size};

    return put_item(&w, 0) && w.p == w.end ? w.size : 0;
}

void sp_cbor_json_write(sp_slice cbor, sp_to_base64 *to_base64, uint8_t *out) {
    walk w = {.p = cbor.data, .end = cbor.data + cbor.size, .out = out, .to_base64 = to_base64};

    put_item(&w, 0);
}
