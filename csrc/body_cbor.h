/* The Records of a PutRecords call, as CBOR (RFC 8949), all lengths definite.
 *
 *     records = array(n) {record}
 *     record  = map(2 or 3) "Data" bytes "PartitionKey" text ["ExplicitHashKey" text]
 */
#ifndef SP_BODY_CBOR_H
#define SP_BODY_CBOR_H

#include "body.h"

/* The bytes that sp_body_cbor_write writes for n records. */
size_t sp_body_cbor_size(const sp_put_record *records, size_t n);

/* Write n records to `out`. Returns the end of what was written. */
uint8_t *sp_body_cbor_write(const sp_put_record *records, size_t n, uint8_t *out);

#endif
