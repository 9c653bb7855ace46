#include "body_cbor.h"

#include <string.h>

#include "cbor.h"

/* Names with their heads: text of 4, 12 and 15 bytes. */
#define DATA                                                                                                           \
    "\x64"                                                                                                             \
    "Data"
#define PARTITION_KEY                                                                                                  \
    "\x6c"                                                                                                             \
    "PartitionKey"
#define EXPLICIT_HASH_KEY                                                                                              \
    "\x6f"                                                                                                             \
    "ExplicitHashKey"

static size_t string_size(sp_slice string) {
    return sp_cbor_head_size(string.size) + string.size;
}

static uint8_t *put_string(uint8_t *out, enum sp_cbor_type type, sp_slice string) {
    out = sp_cbor_put_head(out, type, string.size);
    if (string.size) memcpy(out, string.data, string.size);
    return out + string.size;
}

#define PUT(name) (memcpy(out, name, sizeof name - 1), out += sizeof name - 1)

size_t sp_body_cbor_size(const sp_put_record *records, size_t n) {
    size_t size = sp_cbor_head_size(n);

    for (size_t i = 0; i < n; i++) {
        const sp_put_record *record = &records[i];

        size += 1 + sizeof DATA - 1 + string_size(record->data);
        size += sizeof PARTITION_KEY - 1 + string_size(record->partition_key);
        if (record->explicit_hash_key.data) {
            size += sizeof EXPLICIT_HASH_KEY - 1 + string_size(record->explicit_hash_key);
        }
    }
    return size;
}

uint8_t *sp_body_cbor_write(const sp_put_record *records, size_t n, uint8_t *out) {
    out = sp_cbor_put_head(out, SP_CBOR_ARRAY, n);
    for (size_t i = 0; i < n; i++) {
        const sp_put_record *record = &records[i];

        out = sp_cbor_put_head(out, SP_CBOR_MAP, record->explicit_hash_key.data ? 3 : 2);
        PUT(DATA);
        out = put_string(out, SP_CBOR_BYTES, record->data);
        PUT(PARTITION_KEY);
        out = put_string(out, SP_CBOR_TEXT, record->partition_key);
        if (record->explicit_hash_key.data) {
            PUT(EXPLICIT_HASH_KEY);
            out = put_string(out, SP_CBOR_TEXT, record->explicit_hash_key);
        }
    }
    return out;
}
