/* A stage: user records that are hashed and routed together, a field beside the other. Whoever fills it keeps what its
 * slices point to until it was routed. */
#ifndef SP_STAGE_H
#define SP_STAGE_H

#include "hash_key.h"
#include "slice.h"
#include "text_table.h"

enum { SP_STAGE_SIZE = 1024 }; /* all of it stays in the second-level cache */

typedef struct {
    uint32_t count;
    sp_slice partition_keys[SP_STAGE_SIZE]; /* an empty one: the record has none, and routing gives it one */
    sp_slice datas[SP_STAGE_SIZE];
    void *owners[SP_STAGE_SIZE];    /* of the data; a bucket's once it was routed */
    uint64_t tokens[SP_STAGE_SIZE]; /* the caller's numbers for them, rising */
    uint8_t has_explicit_hash_key[SP_STAGE_SIZE], keyless[SP_STAGE_SIZE]; /* the latter is made by routing */
    sp_hash_key hash_keys[SP_STAGE_SIZE]; /* given where there is an explicit one; the others are made by routing */
    /* made by routing */
    uint8_t digests[SP_STAGE_SIZE * 16];
    uint32_t shards[SP_STAGE_SIZE];
    sp_text key_texts[SP_STAGE_SIZE];
} sp_stage;

#endif
