/* Items lie in an array, densely; open addressing finds them by their id. Nothing is ever taken out alone: what goes,
 * goes in one walk that moves the rest together, keys too, and fills the slots anew. One walk makes room for about half
 * of the items, so a pick pays for two of its steps. */
#include "heavy_hitters.h"

#include "growth.h"

enum {
    SLOTS = 2 * SP_HEAVY_HITTERS,
    SAMPLE = 127, /* counts that the median is taken of */
    LEAST_KEYS = 4096,
};

static const double LEAST_PICKS = 1.0 / 16; /* what has fewer left is forgotten: one pick, after four half-lives */

static uint64_t next_random(sp_heavy_hitters *hitters) { /* splitmix64 */
    uint64_t z = hitters->random += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static size_t next_gap(sp_heavy_hitters *hitters) {
    return 1 + next_random(hitters) % SP_LONGEST_GAP;
}

int sp_heavy_hitters_init(sp_heavy_hitters *hitters, sp_seed seed, double now) {
    *hitters = (sp_heavy_hitters){.seed = seed, .random = seed.first ^ seed.last};
    hitters->keys.aged_at = now;
    size_t one = next_gap(hitters), other = next_gap(hitters); /* where a gap that began before is still to end */
    hitters->gap = one < other ? one : other;
    hitters->keys.items = malloc(SP_HEAVY_HITTERS * sizeof *hitters->keys.items);
    hitters->slots = calloc(SLOTS, sizeof *hitters->slots);
    if (!hitters->keys.items || !hitters->slots || !sp_lock_init(&hitters->lock)) {
        free(hitters->keys.items);
        free(hitters->slots);
        hitters->keys.items = NULL;
        return 0;
    }
    return 1;
}

static uint32_t *slot_of(const sp_heavy_hitters *hitters, uint64_t id) {
    uint32_t at = (uint32_t)id % SLOTS;
    while (hitters->slots[at] && hitters->keys.items[hitters->slots[at] - 1].id != id) at = (at + 1) % SLOTS;
    return &hitters->slots[at];
}

/* Scale all counts, take something off, and forget those that have no more than `least` then. */
static void thin_out(sp_heavy_hitters *hitters, double scale, double off, double least) {
    sp_heavy_keys *keys = &hitters->keys;
    uint32_t kept = 0;
    size_t end = 0;
    memset(hitters->slots, 0, SLOTS * sizeof *hitters->slots);
    for (uint32_t i = 0; i < keys->count; i++) {
        sp_heavy_hitter item = keys->items[i];
        item.picks = item.picks * scale - off;
        if (item.picks <= least) continue;
        memmove(keys->keys + end, keys->keys + item.key_offset, item.key_size);
        item.key_offset = (uint32_t)end;
        end += item.key_size;
        keys->items[kept++] = item;
        *slot_of(hitters, item.id) = kept;
    }
    keys->count = kept;
    keys->keys_size = end;
}

static int compare(const void *a, const void *b) {
    double first = *(const double *)a, second = *(const double *)b;
    return (first > second) - (first < second);
}

/* Make room for one more item at least. */
static void purge(sp_heavy_hitters *hitters) {
    double sample[SAMPLE];
    for (int i = 0; i < SAMPLE; i++) {
        sample[i] = hitters->keys.items[next_random(hitters) % hitters->keys.count].picks;
    }
    qsort(sample, SAMPLE, sizeof *sample, compare);
    double median = sample[SAMPLE / 2];
    hitters->keys.offset += median;
    thin_out(hitters, 1, median, 0);
}

static void count(sp_heavy_hitters *hitters, uint64_t id, sp_slice key, sp_hash_key hash_key, double picks) {
    sp_heavy_keys *keys = &hitters->keys;
    uint32_t *slot = slot_of(hitters, id);
    if (*slot) {
        keys->items[*slot - 1].picks += picks;
        return;
    }
    if (keys->count == SP_HEAVY_HITTERS) {
        purge(hitters);
        slot = slot_of(hitters, id);
    }
    if (key.size > keys->keys_capacity - keys->keys_size) {
        uint8_t *grown =
            sp_grown(keys->keys, &keys->keys_capacity, keys->keys_size + key.size, sizeof *grown, LEAST_KEYS);
        if (!grown) return;
        keys->keys = grown;
    }
    memcpy(keys->keys + keys->keys_size, key.data, key.size);
    keys->items[keys->count++] = (sp_heavy_hitter){.id = id,
                                                   .picks = picks,
                                                   .hash_key = hash_key,
                                                   .key_offset = (uint32_t)keys->keys_size,
                                                   .key_size = (uint32_t)key.size};
    keys->keys_size += key.size;
    *slot = keys->count;
}

/* Count a user record that is picked at least once. */
static void pick(sp_heavy_hitters *hitters, const sp_stage *stage, uint32_t i, size_t size) {
    double picks = 0;
    while (size >= hitters->gap) {
        size -= hitters->gap;
        hitters->gap = next_gap(hitters);
        picks++;
    }
    hitters->gap -= size;
    sp_slice key = stage->partition_keys[i];
    if (stage->keyless[i] || key.size > SP_LONGEST_KEY) return;
    sp_hash_key hash_key = stage->hash_keys[i];
    sp_seed seed = hitters->seed;
    uint64_t id = sp_fold(hash_key.high ^ seed.first ^ stage->key_texts[i].hash, hash_key.low ^ seed.last);
    count(hitters, id, key, hash_key, picks);
}

void sp_heavy_hitters_add(sp_heavy_hitters *hitters, const sp_stage *stage, uint32_t count) {
    int locked = 0;
    for (uint32_t i = 0; i < count; i++) {
        size_t size = stage->partition_keys[i].size + stage->datas[i].size;
        if (size < hitters->gap) {
            hitters->gap -= size;
            continue;
        }
        if (!locked) locked = sp_lock_take(&hitters->lock);
        pick(hitters, stage, i, size);
    }
    if (locked) sp_lock_give(&hitters->lock);
}

void sp_heavy_hitters_age(sp_heavy_hitters *hitters, double now) {
    sp_heavy_keys *keys = &hitters->keys;
    if (now - keys->aged_at < SP_HALF_LIFE) return;
    sp_lock_take(&hitters->lock);
    double scale = 1;
    for (; now - keys->aged_at >= SP_HALF_LIFE && scale > 1e-12; keys->aged_at += SP_HALF_LIFE) {
        scale /= 2;
        keys->seconds = (keys->seconds + SP_HALF_LIFE) / 2;
    }
    if (now - keys->aged_at >= SP_HALF_LIFE) keys->aged_at = now; /* nothing is left of what was so long ago */
    keys->offset *= scale;
    thin_out(hitters, scale, 0, LEAST_PICKS);
    sp_lock_give(&hitters->lock);
}

int sp_heavy_hitters_copy(sp_heavy_hitters *hitters, sp_heavy_keys *out) {
    sp_lock_take(&hitters->lock);
    *out = hitters->keys;
    out->items = malloc((out->count + 1) * sizeof *out->items);
    out->keys = malloc(out->keys_size + 1);
    int copied = out->items && out->keys;
    if (copied) {
        memcpy(out->items, hitters->keys.items, out->count * sizeof *out->items);
        if (out->keys_size) memcpy(out->keys, hitters->keys.keys, out->keys_size);
    }
    sp_lock_give(&hitters->lock);
    if (!copied) sp_heavy_keys_free(out);
    return copied;
}

void sp_heavy_keys_free(sp_heavy_keys *keys) {
    free(keys->items);
    free(keys->keys);
    *keys = (sp_heavy_keys){0};
}

size_t sp_heavy_hitters_memory(const sp_heavy_hitters *hitters) {
    return SP_HEAVY_HITTERS * sizeof *hitters->keys.items + SLOTS * sizeof *hitters->slots +
           hitters->keys.keys_capacity;
}

void sp_heavy_hitters_free(sp_heavy_hitters *hitters) {
    if (!hitters->keys.items) return;
    sp_heavy_keys_free(&hitters->keys);
    free(hitters->slots);
    sp_lock_free(&hitters->lock);
}
