/* The body of a GetRecords response, the part with the Kinesis records: read once, base64 decoded into one buffer.
 *
 *     {"Records": [{"SequenceNumber": "...", "ApproximateArrivalTimestamp": 1.5e9, "Data": "base64",
 *                   "PartitionKey": "...", "EncryptionType": "KMS"}, ...],
 *      "NextShardIterator": "...", "MillisBehindLatest": 0, "ChildShards": [...]}
 *
 * A proxy may have garbled it. What is not exactly as above is foreign, and somebody else's to parse: another member of
 * a record, one that is there twice, one of another type, null or NaN, base64 or UTF-8 that is none, an escaped name, a
 * time that is no plain number of this age. Members of a record may lack, all but its data. The rest of the body may be
 * any JSON, and has nothing to do with this.
 *
 * No read leaves the body, nothing recurses, and what is written is no longer than the body, and as a rule three
 * quarters of it; for each record there is an sp_reply_record.
 */
#ifndef SP_REPLY_H
#define SP_REPLY_H

#include "base64.h"
#include "slice.h"

enum { SP_MOST_SECOND_DIGITS = 10 }; /* of seconds since 1970, before the point: until 2286 */

/* Where something is in the memory of a reply; one that is not there has the offset SIZE_MAX. */
typedef struct {
    size_t offset, size;
} sp_place;

/* Texts are UTF-8. The arrival is a number as JSON writes it. */
typedef struct {
    sp_place data, partition_key, sequence_number, encryption_type, arrival;
} sp_reply_record;

typedef struct {
    uint8_t *memory; /* malloc's */
    size_t size, room;
    sp_reply_record *records;
    size_t count, capacity;
    size_t array_start, array_end; /* where in the body the array of records is, its brackets included */
} sp_reply;

typedef enum {
    SP_REPLY_READ,
    SP_REPLY_FOREIGN,
    SP_REPLY_NO_MEMORY,
} sp_reply_outcome;

/* Read a body. `reply` is the caller's to free, whatever the outcome. */
sp_reply_outcome sp_reply_read(sp_slice body, sp_base64_decode_fn *decode, sp_reply *reply);

void sp_reply_free(sp_reply *reply);

/* What is at a place; no data where there is nothing, and some where there is nothing but an empty text. */
static inline sp_slice sp_reply_slice(const sp_reply *reply, sp_place place) {
    return place.offset == SIZE_MAX ? (sp_slice){NULL, 0} : (sp_slice){reply->memory + place.offset, place.size};
}

#endif
