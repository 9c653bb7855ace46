/* Walk a message to its end or its fault, as a caller of csrc/deaggregate does: begin with little room, and double what
 * is full. Tables are allocations of exactly the room there is, and move whenever they grow, so that ASan sees an entry
 * too many and a stale pointer. */
#ifndef SP_FUZZ_WHOLE_WALK_H
#define SP_FUZZ_WHOLE_WALK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "deaggregate.h"

/* Abort where an invariant does not hold, so that libFuzzer keeps the input. NDEBUG does not switch it off. */
#define DEMAND(holds)                                                                                                  \
    do {                                                                                                               \
        if (!(holds)) {                                                                                                \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #holds);                                 \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

enum { UNTOUCHED = 0xa5 }; /* what memory holds before anything is written to it */

static inline void *exactly(size_t count, size_t size) {
    void *array = malloc(count * size);
    DEMAND(array != NULL || count == 0);
    if (count) memset(array, UNTOUCHED, count * size);
    return array;
}

/* Move `had` entries to room for `count`. */
static inline void *moved(void *array, size_t had, size_t count, size_t size) {
    void *larger = exactly(count, size);
    if (had) memcpy(larger, array, had * size);
    free(array);
    return larger;
}

static inline sp_walk begin_walk(sp_slice message, uint32_t room) {
    sp_walk walk;
    memset(&walk, 0, sizeof walk);
    walk.message = message;
    walk.partition_keys = (sp_span *)exactly(room, sizeof(sp_span));
    walk.explicit_hash_keys = (sp_span *)exactly(room, sizeof(sp_span));
    walk.room.partition_keys = walk.room.explicit_hash_keys = walk.room.records = room;
    return walk;
}

static inline void end_walk(sp_walk *walk) {
    free(walk->partition_keys);
    free(walk->explicit_hash_keys);
}

/* Double the room of what is full; something has to be. Returns whether it is the records, whose memory is the caller's
 * to move. */
static inline int make_room(sp_walk *walk) {
    sp_message_counts *found = &walk->found, *room = &walk->room;
    int keys = found->partition_keys == room->partition_keys;
    int hash_keys = found->explicit_hash_keys == room->explicit_hash_keys, records = found->records == room->records;
    DEMAND(keys || hash_keys || records);
    DEMAND(walk->walked < walk->message.size);
    if (keys) {
        room->partition_keys *= 2;
        walk->partition_keys =
            (sp_span *)moved(walk->partition_keys, found->partition_keys, room->partition_keys, sizeof(sp_span));
    }
    if (hash_keys) {
        room->explicit_hash_keys *= 2;
        walk->explicit_hash_keys = (sp_span *)moved(walk->explicit_hash_keys, found->explicit_hash_keys,
                                                    room->explicit_hash_keys, sizeof(sp_span));
    }
    if (records) room->records *= 2;
    return records;
}

/* sp_walk_records over the whole message. The caller frees `records` and ends the walk. */
static inline sp_outcome walk_all_records(sp_walk *walk, sp_wire_record **records, sp_finding *finding) {
    sp_outcome outcome;
    memset(finding, 0, sizeof *finding);
    *records = (sp_wire_record *)exactly(walk->room.records, sizeof **records);
    while ((outcome = sp_walk_records(walk, *records, finding)) == SP_NO_ROOM) {
        if (make_room(walk)) {
            *records =
                (sp_wire_record *)moved(*records, walk->found.records, walk->room.records, sizeof(sp_wire_record));
        }
    }
    return outcome;
}

#endif
