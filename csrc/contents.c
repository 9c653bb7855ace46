#include "contents.h"

#include <stdlib.h>
#include <string.h>

/* --- room --- */

static int grow(void **table, uint32_t *room, size_t size) {
    void *larger = *room > UINT32_MAX / 2 ? NULL : realloc(*table, (size_t)*room * 2 * size);
    if (!larger) return 0;
    *table = larger;
    *room *= 2;
    return 1;
}

int sp_walk_begin(sp_walk *walk, sp_slice message) {
    *walk = (sp_walk){.message = message};
    walk->room.partition_keys = 16 + (uint32_t)(message.size / 128);
    walk->room.explicit_hash_keys = 2;
    walk->partition_keys = malloc(walk->room.partition_keys * sizeof(sp_span));
    walk->explicit_hash_keys = malloc(walk->room.explicit_hash_keys * sizeof(sp_span));
    return walk->partition_keys && walk->explicit_hash_keys;
}

int sp_walk_make_room(sp_walk *walk) {
    sp_message_counts *found = &walk->found, *room = &walk->room;
    if (found->partition_keys == room->partition_keys &&
        !grow((void **)&walk->partition_keys, &room->partition_keys, sizeof(sp_span))) {
        return 0;
    }
    return found->explicit_hash_keys < room->explicit_hash_keys ||
           grow((void **)&walk->explicit_hash_keys, &room->explicit_hash_keys, sizeof(sp_span));
}

void sp_contents_free(sp_contents *contents) {
    free(contents->walk.partition_keys);
    free(contents->walk.explicit_hash_keys);
    free(contents->records);
    contents->walk = (sp_walk){0};
    contents->records = NULL;
}

/* --- one message --- */

int sp_contents_read_message(sp_slice message, sp_contents *contents) {
    sp_walk *walk = &contents->walk;
    if (!sp_walk_begin(walk, message)) return 0;
    walk->room.records = 16 + (uint32_t)(message.size / 128);
    contents->records = malloc(walk->room.records * sizeof(sp_wire_record));
    if (!contents->records) return 0;
    contents->finding = (sp_finding){0};
    while (sp_walk_records(walk, contents->records, &contents->finding) == SP_NO_ROOM) {
        if (!sp_walk_make_room(walk)) return 0;
        if (walk->found.records == walk->room.records &&
            !grow((void **)&contents->records, &walk->room.records, sizeof(sp_wire_record))) {
            return 0;
        }
    }
    sp_verdict verdict = contents->finding.verdict;
    contents->kind = verdict == SP_WELL_FORMED                 ? SP_AGGREGATED
                     : verdict >= SP_PARTITION_KEY_INDEX_RANGE ? SP_MALFORMED
                                                               : SP_RAW;
    return 1;
}

/* The hash key of every partition key of the table, and the number that every explicit hash key is: once each, however
 * many records name it. */
typedef struct {
    sp_slice *texts;
    uint8_t *digests;
    sp_hash_key *explicit_hash_keys;
} hash_keys;

static int every_record_in_range(const sp_contents *contents, const sp_hash_range *range, const hash_keys *keys) {
    for (uint32_t i = 0; i < contents->walk.found.records; i++) {
        const sp_wire_record *record = &contents->records[i];
        sp_hash_key key = record->explicit_hash_key_index != SP_NO_INDEX
                              ? keys->explicit_hash_keys[record->explicit_hash_key_index]
                              : sp_hash_key_from_bytes(keys->digests + (size_t)16 * record->partition_key_index);
        if (sp_hash_key_less(key, range->low) || sp_hash_key_less(range->high, key)) return 0;
    }
    return 1;
}

/* KCL's rule: one user record outside, and the whole record is left out. */
static int apply_range(sp_contents *contents, const sp_hash_range *range, sp_md5_many_fn *md5_many) {
    const sp_walk *walk = &contents->walk;
    size_t n = walk->found.partition_keys, explicit_n = walk->found.explicit_hash_keys;
    hash_keys keys = {
        .texts = malloc((n + 1) * sizeof(sp_slice)),
        .digests = malloc((n + 1) * SP_MD5_DIGEST_SIZE),
        .explicit_hash_keys = malloc((explicit_n + 1) * sizeof(sp_hash_key)),
    };
    int has_memory = keys.texts && keys.digests && keys.explicit_hash_keys;
    if (has_memory) {
        for (size_t i = 0; i < n; i++) keys.texts[i] = sp_span_of(walk->message, walk->partition_keys[i]);
        md5_many(keys.texts, n, keys.digests);
        for (size_t i = 0; i < explicit_n; i++) {
            sp_slice text = sp_span_of(walk->message, walk->explicit_hash_keys[i]);
            keys.explicit_hash_keys[i] = range->low;
            sp_hash_key_parse(text.data, text.size,
                              &keys.explicit_hash_keys[i]); /* fails only where no record names it */
        }
        if (!every_record_in_range(contents, range, &keys)) contents->kind = SP_LEFT_OUT;
    }
    free(keys.texts);
    free(keys.digests);
    free(keys.explicit_hash_keys);
    return has_memory;
}

int sp_contents_read_verified(const sp_received *received, sp_slice message, sp_md5_many_fn *md5_many,
                              const sp_hash_range *range, sp_contents *contents) {
    if (!sp_contents_read_message(message, contents)) return 0;
    if (contents->kind == SP_RAW && received->message.size) contents->kind = SP_MALFORMED;
    if (contents->kind == SP_AGGREGATED && range && !apply_range(contents, range, md5_many)) return 0;
    if (contents->kind != SP_AGGREGATED) {
        uint32_t records = contents->walk.found.records;
        sp_contents_free(contents);
        contents->walk.found.records = records;
    }
    return 1;
}

/* --- many --- */

void sp_verify(const sp_received *received, size_t n, sp_md5_many_fn *md5_many, sp_verified *verified) {
    sp_slice framed[SP_MOST_VERIFIED];
    uint8_t digests[SP_MOST_VERIFIED * SP_MD5_DIGEST_SIZE];
    size_t count = 0, framed_count = 0, size = 0;
    while (count < n && count < SP_MOST_VERIFIED && (framed_count < SP_FEWEST_VERIFIED || size < SP_VERIFIED_BYTES)) {
        sp_slice *message = &verified->messages[count];
        if (received[count].message.size) {
            *message = received[count].message;
        } else if (!received[count].deaggregated && sp_frame(received[count].data, message)) {
            framed[framed_count++] = *message;
            size += message->size;
        } else {
            *message = (sp_slice){0};
        }
        count++;
    }
    if (framed_count) md5_many(framed, framed_count, digests);
    const uint8_t *digest = digests;
    for (size_t i = 0; i < count; i++) {
        sp_slice *message = &verified->messages[i];
        if (!message->size || received[i].message.size) continue;
        if (memcmp(message->data + message->size, digest, SP_MD5_DIGEST_SIZE) != 0) *message = (sp_slice){0};
        digest += SP_MD5_DIGEST_SIZE;
    }
    verified->count = count;
}

int sp_contents_read(const sp_received *received, size_t n, sp_md5_many_fn *md5_many, const sp_hash_range *range,
                     sp_contents *contents) {
    sp_verified verified;
    for (size_t done = 0; done < n; done += verified.count) {
        sp_verify(received + done, n - done, md5_many, &verified);
        for (size_t i = 0; i < verified.count; i++) {
            sp_slice message = verified.messages[i];
            if (!message.size) continue;
            if (!sp_contents_read_verified(&received[done + i], message, md5_many, range, &contents[done + i])) {
                return 0;
            }
        }
    }
    return 1;
}

sp_contents *sp_contents_publish(sp_contents **place, sp_contents *made) {
    sp_contents *there = NULL;
    if (SP_REPLACE(place, &there, made)) return made;
    sp_contents_free(made);
    free(made);
    return there;
}
