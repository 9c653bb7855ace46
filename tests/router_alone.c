/* csrc/router and csrc/bucket without Python: random programs for fuzz/router_invariants.c, and what is kept.
 *
 *     router_alone programs SEED COUNT    as many programs at random
 *     router_alone failures STEP          one long program, with each STEP-th allocation of it failing in turn
 *     router_alone fitting                a burst, then few records at a time: bytes of the buckets that serve them
 *     router_alone kept                   bytes that a router keeps after bursts; prints the most
 */
#include <stdio.h>

#include "../fuzz/failing_malloc.h"
#include "router.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LONGEST = 20000, SHARDS = 512, ROUNDS = 24 };

static uint64_t state;

static uint64_t next_random(void) { /* splitmix64 */
    uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* Programs whose steps are mostly records, now and then anything. */
static int run_programs(uint64_t seed, int count) {
    static uint8_t program[LONGEST];
    for (int i = 0; i < count; i++) {
        state = seed * 1000003 + (uint64_t)i;
        size_t size = next_random() % (i % 16 ? 2000 : LONGEST);
        uint8_t few = (uint8_t)(1 + next_random() % 255);
        for (size_t j = 0; j < size; j++) program[j] = (uint8_t)(next_random() % (next_random() % 8 ? few : 256));
        LLVMFuzzerTestOneInput(program, size);
    }
    return 0;
}

/* A step and what it takes from the program: route, seal some, flush, or put. */
static size_t write_step(uint8_t *out) {
    uint64_t choice = next_random() % 100;
    size_t size = 0;
    if (choice < 5) {
        out[size++] = choice < 3 ? 210 : choice < 4 ? 225 : 240;
        if (choice >= 3) out[size++] = (uint8_t)(1 + next_random() % 9);
    } else {
        out[size++] = 0;
        out[size] = (uint8_t)next_random();
        int arguments = out[size++] < 208 ? 3 : 4; /* long keys have two */
        while (arguments--) out[size++] = (uint8_t)next_random();
    }
    return size;
}

/* Keys of every kind and payloads of every size, until no allocation is left that could fail. */
static int run_failures(size_t step) {
    static const uint8_t begin[] = {3, 0, 0x0b, 0xb8, 4, 77}; /* four shards, 3,001 bytes */
    static uint8_t program[LONGEST];
    size_t runs = 0, failures, size = sizeof begin;
    state = 7;
    memcpy(program, begin, sizeof begin);
    while (size < 4000) size += write_step(program + size);
    do {
        failures = sp_failures();
        sp_fail_at(1 + runs++ * step);
        LLVMFuzzerTestOneInput(program, size);
    } while (sp_failures() > failures);
    printf("%zu\n", runs);
    return 0;
}

static void demand(int holds, const char *what) {
    if (holds) return;
    fprintf(stderr, "%s\n", what);
    abort();
}

/* `count` records of `size` bytes and keys of their own, all for one shard. */
static void route(sp_router *router, const sp_hash_key *starts, uint32_t shard, uint32_t count, size_t size) {
    static uint8_t payload[512], keys[SP_STAGE_SIZE][8];
    sp_stage *stage = &router->stage;
    while (count) {
        uint32_t n = count < SP_STAGE_SIZE ? count : SP_STAGE_SIZE;
        for (uint32_t i = 0; i < n; i++) {
            uint32_t number = --count;
            memset(keys[i], 'k', sizeof keys[i]);
            memcpy(keys[i], &number, sizeof number);
            stage->partition_keys[i] = (sp_slice){keys[i], sizeof keys[i]};
            stage->datas[i] = (sp_slice){payload, size};
            stage->owners[i] = NULL;
            stage->tokens[i] = 1;
            stage->has_explicit_hash_key[i] = 1;
            stage->hash_keys[i] = starts[shard];
        }
        stage->count = n;
        demand(sp_router_route(router) == n, "no memory");
    }
}

static void flush(sp_router *router) {
    demand(sp_router_detach(router), "no memory");
    sp_router_recycle(router, router->full.count);
}

typedef struct {
    sp_hash_key starts[SHARDS];
    uint32_t *prefixes;
    sp_shard_table table;
    sp_router *router;
} stream;

static stream *begin(void) {
    static stream made;
    for (uint32_t i = 0; i < SHARDS; i++) made.starts[i].high = UINT64_MAX / SHARDS * i;
    made.prefixes = malloc(sp_shard_table_prefix_count(SHARDS) * sizeof *made.prefixes);
    made.table = sp_shard_table_make(made.starts, SHARDS, made.prefixes);
    made.router = malloc(sizeof *made.router);
    sp_bucket_limits limits = {1 << 20, UINT32_MAX, {1, 2}};
    state = 1;
    sp_watch();
    demand(sp_router_init(made.router, &made.table, sp_md5_many_portable, limits), "no memory");
    return &made;
}

static void end(stream *made) {
    sp_unwatch();
    sp_router_free(made->router);
    demand(sp_live_blocks() == 0, "nothing is left behind");
    free(made->router);
    free(made->prefixes);
}

/* Few records must not go through tables that many have left large. */
static int run_fitting(void) {
    stream *to = begin();
    size_t memory = 0;
    for (uint32_t i = 0; i < SHARDS; i++) route(to->router, to->starts, i, 5000, 1);
    flush(to->router);
    for (int round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < SHARDS; i++) route(to->router, to->starts, i, 8, 1);
        memory = 0;
        for (uint32_t i = 0; i < SHARDS; i++) memory += sp_bucket_memory(&to->router->buckets[i]);
        flush(to->router);
    }
    end(to);
    printf("%zu\n", memory / SHARDS);
    return 0;
}

/* Large buckets for other shards each time, then a record each for others again: wherever memory can stay. */
static int run_kept(void) {
    stream *to = begin();
    size_t most = 0;
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < 60; i++) {
            route(to->router, to->starts, (uint32_t)(next_random() % SHARDS), 3000, next_random() % 300);
        }
        if (round % 2) flush(to->router);
        for (uint32_t i = 0; i < SHARDS; i += 1 + (uint32_t)(next_random() % 9)) route(to->router, to->starts, i, 1, 1);
        flush(to->router);
        demand(to->router->full_size == 0 && to->router->full.count == 0, "it is empty");
        if (sp_live_bytes() > most) most = sp_live_bytes();
    }
    end(to);
    printf("%zu\n", most);
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 4 && strcmp(argv[1], "programs") == 0) return run_programs(strtoull(argv[2], NULL, 10), atoi(argv[3]));
    if (argc == 3 && strcmp(argv[1], "failures") == 0) return run_failures(strtoull(argv[2], NULL, 10));
    if (argc == 2 && strcmp(argv[1], "fitting") == 0) return run_fitting();
    if (argc == 2 && strcmp(argv[1], "kept") == 0) return run_kept();
    return 2;
}
