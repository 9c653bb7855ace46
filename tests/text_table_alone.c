/* csrc/text_table.h without Python: steps of its searches, counted, and what clearing it touches.
 *
 *     text_table_alone chosen KIND    texts chosen by a stranger: steps for each where he knows the seed, and where not
 *     text_table_alone grown          many texts, all of them found again
 *     text_table_alone cleared        few texts in a table that many have left large
 */
#include <stdio.h>

#include "text_table.h"

static const sp_seed KNOWN = {0x243f6a8885a308d3, 0x13198a2e03707344};

static void demand(int holds, const char *what) {
    if (holds) return;
    fprintf(stderr, "%s\n", what);
    abort();
}

static void add(sp_text_table *table, sp_slice bytes, sp_seed seed, const uint8_t *kept) {
    sp_text text = sp_text_of(bytes, seed);
    text.offset = (uint64_t)(bytes.data - kept);
    demand(sp_text_find(table, &text, bytes.data, kept) == table->count, "it is new");
    demand(sp_text_table_reserve(table), "no memory");
    sp_text_append(table, &text);
}

/* Slots that are looked at until the text is found. */
static size_t steps_to(const sp_text_table *table, uint32_t index) {
    size_t steps = 1;
    for (uint32_t at = table->texts[index].hash & table->mask; table->slots[at] != index + 1;
         at = (at + 1) & table->mask) {
        steps++;
    }
    return steps;
}

/* Steps for each of `count` texts of `size` bytes behind one another, in thousandths. */
static size_t mean_steps(const uint8_t *texts, size_t size, uint32_t count, sp_seed seed) {
    sp_text_table table = {0};
    size_t steps = 0;
    for (uint32_t i = 0; i < count; i++) add(&table, (sp_slice){texts + i * size, size}, seed, texts);
    for (uint32_t i = 0; i < count; i++) steps += steps_to(&table, i);
    sp_text_table_free(&table);
    return steps * 1000 / count;
}

/* As many texts as fall on few slots under a seed that is known: tried out, as a stranger would. */
static void choose(uint8_t *texts, size_t size, uint32_t count) {
    uint64_t number = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint8_t *text = texts + i * size;
        memset(text, '-', size);
        do {
            number++;
            memcpy(text + (size > 8 ? size - 8 : 0), &number, sizeof number);
        } while (sp_text_of((sp_slice){text, size}, KNOWN).hash % (1 << 14) > 7);
    }
}

enum { MOST = 20000 };
static uint8_t texts[MOST * 64];

static int run_chosen(const char *kind) {
    size_t size = 16;
    uint32_t count = MOST;
    uint64_t *halves = (uint64_t *)(void *)texts;
    if (strcmp(kind, "equal-halves") == 0) {
        for (uint64_t i = 0; i < count; i++) halves[2 * i] = halves[2 * i + 1] = i;
    } else if (strcmp(kind, "high-halves") == 0) {
        for (uint64_t i = 0; i < count; i++) halves[2 * i] = i << 48, halves[2 * i + 1] = 0;
    } else if (strcmp(kind, "low-halves") == 0) {
        for (uint64_t i = 0; i < count; i++) halves[2 * i] = 0, halves[2 * i + 1] = i << 20;
    } else if (strcmp(kind, "middle") == 0) {
        size = 64;
        memset(texts, 'm', sizeof texts);
        for (uint64_t i = 0; i < count; i++) memcpy(texts + i * size + 24, &i, sizeof i);
    } else {
        size = strcmp(kind, "chosen-8") == 0 ? 8 : strcmp(kind, "chosen-16") == 0 ? 16 : 40;
        count = 2000;
        choose(texts, size, count);
    }
    printf("%zu", mean_steps(texts, size, count, KNOWN));
    for (uint64_t i = 1; i < 20; i++) { /* other seeds, as random ones are */
        sp_seed seed = {i * 0x9e3779b97f4a7c15, i * 0xd1b54a32d192ed03 ^ 0xa0761d6478bd642f};
        printf(" %zu", mean_steps(texts, size, count, seed));
    }
    printf("\n");
    return 0;
}

static int run_grown(void) {
    static uint8_t kept[200000 * 20];
    sp_text_table table = {0};
    size_t at = 0;
    for (uint32_t i = 0; i < 200000; i++) {
        size_t size = (size_t)snprintf((char *)kept + at, 20, i % 3 ? "%u" : &"some-longer-text-%05x"[17 - i % 17], i);
        sp_slice bytes = {kept + at, size < 20 ? size : 19};
        sp_text text = sp_text_of(bytes, KNOWN);
        text.offset = at;
        if (sp_text_find(&table, &text, bytes.data, kept) != table.count) continue;
        demand(sp_text_table_reserve(&table), "no memory");
        sp_text_append(&table, &text);
        at += bytes.size;
    }
    for (uint32_t i = 0; i < table.count; i++) {
        sp_text text = table.texts[i];
        uint8_t *copy = malloc(text.size); /* of exactly its size */
        memcpy(copy, kept + text.offset, text.size);
        demand(sp_text_find(&table, &text, copy, kept) == i, "it is found where it was put");
        text = sp_text_of((sp_slice){copy, text.size}, KNOWN);
        demand(sp_text_find(&table, &text, copy, kept) == i, "by its bytes too");
        copy[text.size / 2] ^= 0x80;
        text = sp_text_of((sp_slice){copy, text.size}, KNOWN);
        demand(sp_text_find(&table, &text, copy, kept) == table.count, "and one that differs is not");
        free(copy);
    }
    printf("%u\n", table.count);
    sp_text_table_free(&table);
    return 0;
}

static int run_cleared(void) {
    sp_text_table table = {0};
    uint64_t *numbers = (uint64_t *)(void *)texts;
    for (uint64_t i = 0; i < MOST; i++) numbers[i] = i;
    for (uint32_t i = 0; i < MOST; i++) add(&table, (sp_slice){texts + 8 * i, 8}, KNOWN, texts);
    size_t slots = sp_text_slots(table.capacity);
    sp_text_table_clear(&table);
    demand(table.count == 0 && table.capacity >= MOST, "it stays large");
    for (size_t i = 0; i < slots; i++) demand(table.slots[i] == 0, "and is empty");
    for (uint32_t few = 0; few < 200; few += 7) {
        for (uint32_t i = 0; i < few; i++) add(&table, (sp_slice){texts + 8 * i, 8}, KNOWN, texts);
        size_t marked = 0, left = 0;
        for (size_t i = 0; i < slots; i++) { /* a mark in every slot far from those in use: clearing leaves it */
            int is_near = 0;
            for (size_t j = i > 8 ? i - 8 : 0; j < i + 2 && j < slots; j++) is_near |= table.slots[j] - 1 < few;
            if (!is_near && i % 64 == 0) table.slots[i] = UINT32_MAX, marked++;
        }
        sp_text_table_clear(&table);
        for (size_t i = 0; i < slots; i++) {
            left += table.slots[i] == UINT32_MAX;
            table.slots[i] = 0;
        }
        demand(marked > slots / 128 && left == marked, "few texts are cleared in time that goes with their number");
    }
    sp_text_table_free(&table);
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "chosen") == 0) return run_chosen(argv[2]);
    if (argc == 2 && strcmp(argv[1], "grown") == 0) return run_grown();
    if (argc == 2 && strcmp(argv[1], "cleared") == 0) return run_cleared();
    return 2;
}
