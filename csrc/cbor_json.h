/* What a service answers in CBOR (RFC 8949), said in JSON: bytes become base64, as in the JSON of AWS.
 *
 * Read are integers, strings, arrays, maps of text, true, false, null and undefined, with lengths or to a break. A tag
 * 1 (a time) is left out. Floats are taken where they are whole numbers. Nothing else that CBOR has is in such answers.
 */
#ifndef SP_CBOR_JSON_H
#define SP_CBOR_JSON_H

#include "slice.h"

typedef void sp_to_base64(const uint8_t *in, size_t n, uint8_t *out);

enum { SP_CBOR_DEPTH = 16 /* items within items */ };

/* The bytes of JSON that one CBOR item becomes; 0 where it is not one whole item of the kinds above. */
size_t sp_cbor_json_size(sp_slice cbor);

/* Write that JSON of an item for which there is a size. Bytes become base64 of four characters for three, padded. */
void sp_cbor_json_write(sp_slice cbor, sp_to_base64 *to_base64, uint8_t *out);

#endif
