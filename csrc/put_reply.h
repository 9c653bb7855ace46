/* The answer to a PutRecords call of which every record was stored.
 *
 *     {"FailedRecordCount":0,"Records":[{"SequenceNumber":"…","ShardId":"…"},…], whatever else}
 *
 * Only that is read. Anything that is not foreseen here, be it an error, another member of a record, an escape, or
 * bytes that are no JSON, is left to whoever reads any JSON.
 */
#ifndef SP_PUT_REPLY_H
#define SP_PUT_REPLY_H

#include "slice.h"

typedef struct {
    sp_slice shard_id;
    sp_slice sequence_number;
} sp_stored;

/* Where a reply tells of `count` records, all stored: fill `stored`, say where the array of Records lies, with its
 * brackets, and return 1. Else return 0. The slices are UTF-8 and lie in the reply. */
int sp_put_reply_read(sp_slice reply, sp_stored *stored, size_t count, sp_slice *array);

#endif
