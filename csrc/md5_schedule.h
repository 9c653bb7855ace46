/* Which message is in which lane: the second half of md5_lanes.h, without vectors.
 *
 * One-block messages, as partition keys are, go straight through, WIDTH at a time. Longer ones take
 * a lane each: all lanes run as many blocks as the lane nearest to its end has left, then what
 * ended is padded, or stored and its lane given to the next message. When no message is left to
 * give, the last lane moves into the gap, so that live lanes are always the first ones, and as they
 * become few, fewer vectors and then narrower ones run.
 */
#define NONE SIZE_MAX

enum {
    LARGE = 16 << 10,  /* many times WIDTH blocks */
    CACHE_SET = 0xfc0, /* the bits of an address that choose the set: 64 sets of 64-byte lines */
};

/* The messages to hash, and those of one block that are met between longer ones: they wait for
 * enough of their kind. */
typedef struct {
    const sp_slice *messages;
    size_t n;
    size_t next;
    uint8_t *digests;
    size_t waiting;
    sp_slice short_messages[WIDTH];
    size_t short_index[WIDTH];
} queue;

TARGET static void hash_waiting(queue *q) {
    uint8_t digests[SP_MD5_DIGEST_SIZE * WIDTH];

    if (q->waiting <= FEW) {
        NARROWER(many)(q->short_messages, q->waiting, digests);
    } else {
        for (size_t i = q->waiting; i < WIDTH; i++) {
            q->short_messages[i] = q->short_messages[0];
        }
        hash_one_block(q->short_messages, q->short_messages, digests);
    }
    for (size_t i = 0; i < q->waiting; i++) {
        memcpy(q->digests + SP_MD5_DIGEST_SIZE * q->short_index[i], digests + SP_MD5_DIGEST_SIZE * i,
               SP_MD5_DIGEST_SIZE);
    }
    q->waiting = 0;
}

/* The index of the next message of more than one block, or NONE; the shorter ones before it are
 * hashed or set to wait. */
TARGET static size_t next_long(queue *q) {
    while (q->next < q->n) {
        const sp_slice *m = q->messages + q->next;
        size_t limit = q->n - q->next < WIDTH ? q->n - q->next : WIDTH;
        size_t run = 0;

        while (run < limit && m[run].size <= SP_MD5_SHORT_MAX) {
            run++;
        }
        if (run == WIDTH) {
            const sp_slice *after = q->n - q->next >= 2 * WIDTH ? m + WIDTH : m;

            hash_one_block(m, after, q->digests + SP_MD5_DIGEST_SIZE * q->next);
            q->next += WIDTH;
            continue;
        }
        for (size_t i = 0; i < run; i++) {
            q->short_messages[q->waiting] = m[i];
            q->short_index[q->waiting++] = q->next++;
            if (q->waiting == WIDTH) {
                hash_waiting(q);
            }
        }
        if (run < limit) {
            return q->next++;
        }
    }
    hash_waiting(q);
    return NONE;
}

/* The longer messages in flight. Live lanes are the first `live` ones. */
typedef struct {
    size_t live;
    _Alignas(64) uint32_t state[4][WIDTH];
    const uint8_t *next[WIDTH]; /* the next block of each lane's message, or of its padded end */
    size_t blocks[WIDTH];       /* how many lie there */
    size_t index[WIDTH];        /* of the message */
    uint8_t padded[WIDTH];      /* is this the end? */
    uint8_t end[WIDTH][2 * SP_MD5_BLOCK_SIZE];
} lanes;

/* Fold as many blocks as every live lane has, but at most `limit`, and return their number. */
TARGET static size_t compress(lanes *l, size_t limit) {
    size_t blocks = limit;

    for (size_t lane = 0; lane < l->live; lane++) {
        blocks = l->blocks[lane] < blocks ? l->blocks[lane] : blocks;
    }
    for (size_t lane = l->live; lane < WIDTH; lane++) {
        l->next[lane] = l->next[0]; /* an idle lane must read something: what lane 0 reads */
    }
    compress_live(l->state[0], WIDTH, l->next, blocks, l->live);
    return blocks;
}

TARGET static void pad(lanes *l, size_t lane, const sp_slice *m) {
    const uint8_t *rest = m->data + m->size / SP_MD5_BLOCK_SIZE * SP_MD5_BLOCK_SIZE;

    l->blocks[lane] = sp_md5_pad(l->end[lane], rest, m->size);
    l->next[lane] = l->end[lane];
    l->padded[lane] = 1;
}

TARGET static void enter(lanes *l, size_t lane, size_t index, const sp_slice *m) {
    for (int j = 0; j < 4; j++) {
        l->state[j][lane] = sp_md5_initial[j];
    }
    l->index[lane] = index;
    l->next[lane] = m->data;
    l->blocks[lane] = m->size / SP_MD5_BLOCK_SIZE;
    l->padded[lane] = 0;
    if (l->blocks[lane] == 0) {
        pad(l, lane, m);
    }
}

/* Close the gap at `lane`. */
TARGET static void leave(lanes *l, size_t lane) {
    size_t last = --l->live;

    for (int j = 0; j < 4; j++) {
        l->state[j][lane] = l->state[j][last];
    }
    l->next[lane] = l->next[last];
    l->blocks[lane] = l->blocks[last];
    l->index[lane] = l->index[last];
    l->padded[lane] = l->padded[last];
    if (l->padded[lane]) {
        memcpy(l->end[lane], l->end[last], sizeof l->end[lane]);
        l->next[lane] = l->end[lane] + (l->next[last] - l->end[last]);
    }
}

/* Fold, then pad or store what came to its end, and give its lane away. */
TARGET static void turn(lanes *l, queue *q, size_t limit) {
    size_t blocks = compress(l, limit);

    for (size_t lane = 0; lane < l->live;) {
        size_t i = l->index[lane];

        l->next[lane] += blocks * SP_MD5_BLOCK_SIZE;
        l->blocks[lane] -= blocks;
        if (l->blocks[lane]) {
            lane++;
        } else if (!l->padded[lane]) {
            pad(l, lane++, q->messages + i);
        } else {
            for (int j = 0; j < 4; j++) {
                memcpy(q->digests + SP_MD5_DIGEST_SIZE * i + 4 * j, &l->state[j][lane], 4);
            }
            i = next_long(q);
            if (i != NONE) {
                enter(l, lane++, i, q->messages + i);
            } else {
                leave(l, lane); /* what is here now has not moved on yet: this lane again */
            }
        }
    }
}

/* Large buffers tend to lie at the same offset from a page. Lanes that start there together stay
 * together, all in one set of the first-level cache, and lose every line before they have read its
 * second half. So the others run one block ahead before a large message joins them. */
TARGET static int collides(const lanes *l, const sp_slice *m) {
    return l->live && m->size >= LARGE && (((uintptr_t)l->next[l->live - 1] ^ (uintptr_t)m->data) & CACHE_SET) == 0;
}

TARGET static void hash_many(const sp_slice *messages, size_t n, uint8_t *digests) {
    queue q;
    lanes l;

    if (n <= FEW) {
        NARROWER(many)(messages, n, digests);
        return;
    }
    q.messages = messages;
    q.n = n;
    q.next = 0;
    q.digests = digests;
    q.waiting = 0;
    l.live = 0;
    for (size_t i; l.live < WIDTH && (i = next_long(&q)) != NONE;) {
        if (collides(&l, messages + i)) {
            turn(&l, &q, 1);
        }
        enter(&l, l.live++, i, messages + i);
    }
    while (l.live) {
        turn(&l, &q, SIZE_MAX);
    }
}
