/* libFuzzer target: what csrc/cbor_json promises, whatever a proxy made of an answer.
 *
 * The input is the answer, in an allocation of exactly its size, and so is the JSON: it is filled to its end, and is
 * JSON, by the reader that reads it then. No part of an item is an item: where the input is taken, nothing shorter is.
 */
#include <stdlib.h>
#include <string.h>

#include "cbor_json.h"
#include "json_reader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { UNTOUCHED = 0xfe /* in no UTF-8 */ };

static void demand(int holds) {
    if (!holds) abort();
}

static void to_base64(const uint8_t *in, size_t n, uint8_t *out) {
    uint8_t all = 0;
    for (size_t i = 0; i < n; i++) all |= in[i]; /* every byte is there to be read */
    memset(out, all ? 'A' : 'B', n / 3 * 4 + (n % 3 ? 4 : 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    uint8_t *cbor = malloc(size ? size : 1);
    demand(cbor != NULL);
    if (size) memcpy(cbor, data, size);
    size_t json_size = sp_cbor_json_size((sp_slice){cbor, size});
    demand(json_size <= 6 * size); /* a control character is the most: one byte becomes six */
    if (json_size) {
        uint8_t *json = malloc(json_size);
        demand(json != NULL);
        memset(json, UNTOUCHED, json_size);
        sp_cbor_json_write((sp_slice){cbor, size}, to_base64, json);
        for (size_t i = 0; i < json_size; i++) demand(json[i] != UNTOUCHED);
        sp_cursor in = sp_cursor_over((sp_slice){json, json_size});
        demand(sp_json_skip(&in) && sp_json_at_end(&in));
        demand(sp_cbor_json_size((sp_slice){cbor, size - 1}) == 0);
        free(json);
    }
    free(cbor);
    return 0;
}
