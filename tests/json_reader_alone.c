/* csrc/json_reader.h without Python. Standard input: texts, each behind its size in four bytes, little-endian. For each
 * a line: "no", or "yes" for a whole JSON value, with what it means in hexadecimal digits where it is a string, and as
 * it is written where it is a number. Every text lies in an allocation of its own size.
 */
#include <stdio.h>
#include <stdlib.h>

#include "json_reader.h"

static void demand(int holds, const char *what) {
    if (holds) return;
    fprintf(stderr, "%s\n", what);
    abort();
}

static void say_string(sp_cursor in) {
    sp_json_string string;
    demand(sp_json_read_string(&in, &string), "what was skipped is read");
    uint8_t *text = malloc(string.text.size ? string.text.size : 1);
    demand(text != NULL, "no memory");
    size_t size = sp_json_unescape(&string, text);
    demand(string.is_escaped ? size < string.text.size : size == string.text.size, "it is escaped");
    demand(string.is_escaped || !size || memcmp(text, string.text.data, size) == 0, "it stands there");
    printf("yes ");
    for (size_t i = 0; i < size; i++) printf("%02x", text[i]);
    printf("\n");
    free(text);
}

static void say(sp_slice text) {
    sp_cursor in = sp_cursor_over(text), again = in;
    sp_slice number;
    if (!sp_json_skip(&in) || !sp_json_at_end(&in)) {
        printf("no\n");
        return;
    }
    uint8_t first = sp_json_next(&again);
    if (first == '"') {
        say_string(again);
    } else if (first == '-' || (first >= '0' && first <= '9')) {
        demand(sp_json_read_number(&again, &number), "what was skipped is read");
        printf("yes %.*s\n", (int)number.size, (const char *)number.data);
    } else {
        printf("yes\n");
    }
}

int main(void) {
    uint8_t size[4];
    while (fread(size, 1, 4, stdin) == 4) {
        size_t n = (size_t)size[0] | (size_t)size[1] << 8 | (size_t)size[2] << 16 | (size_t)size[3] << 24;
        uint8_t *text = malloc(n ? n : 1);
        demand(text && fread(text, 1, n, stdin) == n, "a text is as long as it says");
        say((sp_slice){text, n});
        free(text);
    }
    return 0;
}
