/* The Records of a PutRecords call, as JSON (RFC 8259).
 *
 *     records = "[" record {"," record} "]"
 *     record  = {"Data":"base64","PartitionKey":"key"[,"ExplicitHashKey":"decimal"]}
 *
 * Text is UTF-8 and goes as it is, but for what JSON forbids: control characters, quotes and backslashes are escaped.
 */
#ifndef SP_BODY_H
#define SP_BODY_H

#include "slice.h"

typedef struct {
    sp_slice data;
    sp_slice partition_key;
    sp_slice explicit_hash_key; /* its data is NULL where there is none */
} sp_put_record;

typedef void sp_to_base64(const uint8_t *in, size_t n, uint8_t *out);

/* The bytes that sp_body_write writes for n records. */
size_t sp_body_size(const sp_put_record *records, size_t n);

/* Write n records to `out`. Returns the end of what was written. */
uint8_t *sp_body_write(const sp_put_record *records, size_t n, sp_to_base64 *to_base64, uint8_t *out);

#endif
