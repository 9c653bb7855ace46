/* What threads share, from many of them at once; for ThreadSanitizer. Says how many user records there are.
 *
 * Usage: contents_threads FILE..., each an aggregated record.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "columns.h"
#include "contents.h"
#include "md5.h"

enum { THREADS = 4, ROUNDS = 50, MOST_RECORDS = 64 };

static sp_received received[MOST_RECORDS];
static size_t record_count;
static sp_contents *published[ROUNDS][MOST_RECORDS];
static size_t user_records[THREADS];

static void demand(int holds, const char *what) {
    if (holds) return;
    fprintf(stderr, "%s\n", what);
    exit(1);
}

/* Each makes contents of its own, and all go on with those that were published first. */
static size_t read_and_publish(size_t round) {
    sp_contents contents[MOST_RECORDS] = {0};
    size_t found = 0;
    demand(sp_contents_read(received, record_count, sp_md5_many, NULL, contents), "no memory");
    for (size_t i = 0; i < record_count; i++) {
        sp_contents *made = malloc(sizeof *made);
        demand(made != NULL, "no memory");
        *made = contents[i];
        const sp_contents *first = sp_contents_publish(&published[round][i], made);
        demand(first == sp_contents_at(&published[round][i]), "what was published has changed");
        demand(first->kind == SP_AGGREGATED, "not an aggregated record");
        for (uint32_t k = 0; k < first->walk.found.records; k++) {
            sp_slice data = sp_span_of(first->walk.message, first->records[k].data);
            found += data.size == 0 || data.data[0] == 0;
        }
    }
    return found;
}

static size_t fill_columns(void) {
    sp_contents contents[MOST_RECORDS] = {0};
    sp_filling filling = {0};
    demand(sp_columns_fill(&filling, received, record_count, sp_md5_many, NULL, contents) == SP_FILLED, "no memory");
    size_t rows = filling.columns.count;
    for (size_t i = 0; i < record_count; i++) sp_contents_free(&contents[i]);
    free(filling.rows);
    free(filling.columns.data);
    return rows;
}

static void *work(void *number) {
    size_t me = *(size_t *)number;
    for (size_t round = 0; round < ROUNDS; round++) {
        /* any kernel is right, whoever has just chosen another */
        const sp_md5_kernel *kernel = &sp_md5_kernels[(round + me) % sp_md5_kernel_count];
        if (kernel->supported()) sp_md5_set_kernel(kernel->name);
        size_t found = read_and_publish(round);
        demand(fill_columns() == found, "columns have other user records");
        user_records[me] += found;
    }
    return NULL;
}

static sp_slice read_file(const char *path) {
    FILE *file = fopen(path, "rb");
    demand(file != NULL && fseek(file, 0, SEEK_END) == 0, path);
    long size = ftell(file);
    rewind(file);
    uint8_t *data = malloc((size_t)size + 1);
    demand(data != NULL && fread(data, 1, (size_t)size, file) == (size_t)size, path);
    fclose(file);
    return (sp_slice){data, (size_t)size};
}

int main(int count, char **paths) {
    pthread_t threads[THREADS];
    size_t numbers[THREADS];
    demand(count > 1 && count <= MOST_RECORDS, "usage: contents_threads FILE...");
    record_count = (size_t)count - 1;
    for (size_t i = 0; i < record_count; i++) received[i].data = read_file(paths[i + 1]);
    sp_md5_select_kernel();
    for (size_t i = 0; i < THREADS; i++) {
        numbers[i] = i;
        demand(pthread_create(&threads[i], NULL, work, &numbers[i]) == 0, "no thread");
    }
    for (size_t i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    for (size_t i = 1; i < THREADS; i++) demand(user_records[i] == user_records[0], "threads found different things");
    printf("%zu\n", user_records[0] / ROUNDS);
    for (size_t round = 0; round < ROUNDS; round++) {
        for (size_t i = 0; i < record_count; i++) {
            sp_contents_free(published[round][i]);
            free(published[round][i]);
        }
    }
    for (size_t i = 0; i < record_count; i++) free((void *)(uintptr_t)received[i].data.data);
    return 0;
}
