/* What Kinesis records hold: the checksums of many computed together, and each message walked while the cache has it.
 *
 * Memory is taken with malloc and grows on the way, so that a call needs nobody else from the first record to the last.
 */
#ifndef SP_CONTENTS_H
#define SP_CONTENTS_H

#include "deaggregate.h"
#include "md5.h"

typedef enum {
    SP_RAW = 0,    /* no aggregated record */
    SP_MALFORMED,  /* see the finding; so is a compressed aggregate whose message does not parse */
    SP_AGGREGATED, /* see the walk */
    SP_LEFT_OUT,   /* aggregated, with a user record outside the hash range; found.records is all that is kept of it */
} sp_kind;

typedef struct {
    sp_kind kind;
    sp_walk walk;            /* the message and its tables */
    sp_wire_record *records; /* NULL where they went into columns */
    sp_finding finding;
} sp_contents;

/* A Kinesis record as a consumer got it. */
typedef struct {
    sp_slice data;
    sp_slice message;     /* what a compressed aggregate unpacked to: taken as it is; else no bytes */
    uint8_t deaggregated; /* a user record already: what looks like an aggregated record is its data */
    uint8_t has_explicit_hash_key;
} sp_received;

/* From the first hash key to the last, both included. */
typedef struct {
    sp_hash_key low, high;
} sp_hash_range;

/* Find out what each of n Kinesis records holds. `contents` are zero before; whatever the outcome, each is the caller's
 * to free. Returns 1, or 0 without memory. */
int sp_contents_read(const sp_received *received, size_t n, sp_md5_many_fn *md5_many, const sp_hash_range *range,
                     sp_contents *contents);

/* The same for one message whose checksum is not asked for; a malformed one keeps its tables and records, though their
 * indices lead nowhere. */
int sp_contents_read_message(sp_slice message, sp_contents *contents);

void sp_contents_free(sp_contents *contents);

/* Make `place`, which is NULL or was published before, point to the one of `made` and that which came first; nobody
 * changes it any more. The other is freed. Returns what is there. From any thread. */
sp_contents *sp_contents_publish(sp_contents **place, sp_contents *made);

/* What was published, or NULL. */
static inline sp_contents *sp_contents_at(sp_contents *const *place) {
    return SP_LOAD_ACQUIRE(place);
}

/* --- for columns.c --- */

enum {
    /* Kinesis records whose checksums are computed together: at least two vectors of lanes, where there are as many,
     * and then as few as it takes to find them in the second-level cache again. */
    SP_FEWEST_VERIFIED = 32,
    SP_MOST_VERIFIED = 256,
    SP_VERIFIED_BYTES = 1 << 20,
};

/* The next Kinesis records, and those messages among them whose digest is right, or that were unpacked; others have no
 * bytes. */
typedef struct {
    size_t count;
    sp_slice messages[SP_MOST_VERIFIED];
} sp_verified;

void sp_verify(const sp_received *received, size_t n, sp_md5_many_fn *md5_many, sp_verified *verified);

/* Read the verified message of a record, user records and all, as sp_contents_read does. */
int sp_contents_read_verified(const sp_received *received, sp_slice message, sp_md5_many_fn *md5_many,
                              const sp_hash_range *range, sp_contents *contents);

/* Tables for as many keys as there may be, and more when there are. 1, or 0 without memory. */
int sp_walk_begin(sp_walk *walk, sp_slice message);
int sp_walk_make_room(sp_walk *walk);

#endif
