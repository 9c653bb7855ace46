/* Runs the fuzz target of csrc/compressed over the files that it is given, each once as it is and with bits changed. */
#include <stdio.h>
#include <stdlib.h>

#include "compressed.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MOST = 1 << 16, CHANGES = 40 };

static uint64_t state = 88172645463325252u;

static size_t below(size_t n) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (size_t)(state % n);
}

int main(int count, char **names) {
    static uint8_t input[MOST], changed[MOST];
    size_t sound = 0, runs = 0;
    for (int i = 1; i < count; i++) {
        FILE *file = fopen(names[i], "rb");
        if (!file) return 1;
        size_t size = fread(input, 1, MOST, file);
        fclose(file);
        LLVMFuzzerTestOneInput(input, size);
        for (int j = 0; j < CHANGES && size; j++, runs++) {
            memcpy(changed, input, size);
            for (size_t k = below(3) + 1; k; k--) changed[below(size < 32 ? size : 32)] ^= (uint8_t)(1u << below(8));
            size_t cut = below(4) ? size : below(size + 1);
            LLVMFuzzerTestOneInput(changed, cut);
        }
        uint8_t *record = malloc(size + 5);
        if (!record) return 1;
        memcpy(record, SP_COMPRESSED_MAGIC "\x01", 5);
        memcpy(record + 5, input, size);
        sound += sp_compressed_read((sp_slice){record, size + 5}).fault == SP_SOUND;
        free(record);
    }
    printf("%zu %zu\n", sound, runs);
    return 0;
}
