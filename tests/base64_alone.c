/* Encode and decode with every base64 kernel that runs here; compare with what came with it.
 *
 * Standard input, written by test_base64_alone.py, integers little-endian:
 *     case = what:u8 size:u32 expected_size:u32 bytes:size expected:expected_size
 * `what` is 'e' to encode or 'd' to decode; an expected size of UINT32_MAX says that the text is refused.
 * Standard output: one line "name cases" for each kernel. Exit status 1 says that a result differs, 2 that the test
 * itself cannot go on.
 *
 * What is read ends at an unreadable page, then begins behind one; what is written ends at one.
 */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */

#include <string.h>

#include "base64.h"
#include "fenced.h"

/* One case with one kernel; does the result differ? */
static int differs(const sp_base64_kernel *kernel, int what, const uint8_t *in, size_t size, const uint8_t *expected,
                   size_t expected_size) {
    size_t room = what == 'e' ? sp_base64_size(size) : size / 4 * 3, got;
    fenced out = fence(room);
    uint8_t *at = out.bytes + out.size - room;
    int wrong = 0;

    memset(out.bytes, 0x5a, out.size);
    if (what == 'e') {
        kernel->encode(in, size, at);
        got = room;
    } else {
        got = kernel->decode(in, size, at);
    }
    if (got != expected_size || (got != SIZE_MAX && got && memcmp(at, expected, got) != 0)) {
        printf("%s: another result for %zu bytes\n", kernel->name, size);
        wrong = 1;
    }
    for (const uint8_t *p = out.bytes; p < at; p++) {
        if (*p != 0x5a) {
            printf("%s: wrote before its output\n", kernel->name);
            wrong = 1;
            break;
        }
    }
    unfence(out);
    return wrong;
}

int main(void) {
    size_t cases = 0;
    int wrong = 0;
    uint8_t what;

    while (read_or_end(&what, 1)) {
        size_t size = read_u32(), expected_size = read_u32();
        int refused = expected_size == UINT32_MAX;
        fenced in = fence(size);
        uint8_t *at_end = in.bytes + in.size - size, *expected = malloc(refused ? 1 : expected_size + 1);

        if (!expected) {
            stop("no memory");
        }
        read_exactly(at_end, size);
        read_exactly(expected, refused ? 0 : expected_size);
        if (refused) {
            expected_size = SIZE_MAX;
        }
        for (int placed = 0; placed < 2; placed++) {
            const uint8_t *at = placed ? memmove(in.bytes, at_end, size) : at_end;

            for (size_t k = 0; k < sp_base64_kernel_count; k++) {
                if (sp_base64_kernels[k].supported()) {
                    wrong |= differs(&sp_base64_kernels[k], what, at, size, expected, expected_size);
                }
            }
        }
        free(expected);
        unfence(in);
        cases++;
    }
    for (size_t k = 0; k < sp_base64_kernel_count; k++) {
        if (sp_base64_kernels[k].supported()) {
            printf("%s %zu\n", sp_base64_kernels[k].name, cases);
        }
    }
    return wrong;
}
