#include "body.h"

#include "base64.h"
#include "json_text.h"

#define DATA "{\"Data\":\""
#define PARTITION_KEY "\",\"PartitionKey\":\""
#define EXPLICIT_HASH_KEY "\",\"ExplicitHashKey\":\""
#define END "\"}"

enum { LITERALS = sizeof DATA + sizeof PARTITION_KEY + sizeof END - 3, ESCAPE = 6 /* \u001f */ };

/* How many bytes at the start of a text go as they are. */
static size_t plain_size(sp_slice text) {
    size_t i = 0;

    while (text.size - i >= 8 && sp_json_are_plain(sp_load64(text.data + i))) {
        i += 8;
    }
    while (i < text.size && sp_json_is_plain(text.data[i])) {
        i++;
    }
    return i;
}

static size_t text_size(sp_slice text) {
    size_t size = text.size;

    for (size_t i = plain_size(text); i < text.size; i++) {
        if (!sp_json_is_plain(text.data[i])) {
            size += text.data[i] < 0x20 ? ESCAPE - 1 : 1;
        }
    }
    return size;
}

static uint8_t *write_text(uint8_t *out, sp_slice text) {
    static const char digits[] = "0123456789abcdef";
    size_t plain = plain_size(text);

    sp_copy_short(out, (sp_slice){text.data, plain});
    out += plain;
    for (size_t i = plain; i < text.size; i++) {
        uint8_t byte = text.data[i];

        if (byte < 0x20) {
            memcpy(out, "\\u00", 4);
            out[4] = (uint8_t)digits[byte >> 4];
            out[5] = (uint8_t)digits[byte & 15];
            out += ESCAPE;
            continue;
        }
        if (!sp_json_is_plain(byte)) {
            *out++ = '\\';
        }
        *out++ = byte;
    }
    return out;
}

#define PUT(literal) (memcpy(out, literal, sizeof literal - 1), out += sizeof literal - 1)

size_t sp_body_size(const sp_put_record *records, size_t n) {
    size_t size = n ? n + 1 : 2; /* brackets, and commas between */

    for (size_t i = 0; i < n; i++) {
        const sp_put_record *record = &records[i];

        size += LITERALS + sp_base64_size(record->data.size) + text_size(record->partition_key);
        if (record->explicit_hash_key.data) {
            size += sizeof EXPLICIT_HASH_KEY - 1 + text_size(record->explicit_hash_key);
        }
    }
    return size;
}

uint8_t *sp_body_write(const sp_put_record *records, size_t n, sp_to_base64 *to_base64, uint8_t *out) {
    *out++ = '[';
    for (size_t i = 0; i < n; i++) {
        const sp_put_record *record = &records[i];

        if (i) {
            *out++ = ',';
        }
        PUT(DATA);
        to_base64(record->data.data, record->data.size, out);
        out += sp_base64_size(record->data.size);
        PUT(PARTITION_KEY);
        out = write_text(out, record->partition_key);
        if (record->explicit_hash_key.data) {
            PUT(EXPLICIT_HASH_KEY);
            out = write_text(out, record->explicit_hash_key);
        }
        PUT(END);
    }
    *out++ = ']';
    return out;
}
