/* Mutations that keep the nesting of a message: libFuzzer's own, of bytes, break the lengths around the byte they
 * change and so seldom get past the outermost field. Here half of the mutations go down into a field, change what is in
 * it, and write the length anew; others copy, move or delete whole fields.
 */
#include <stdlib.h>
#include <string.h>

#include "varint.h"

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed);

enum { MAX_FIELDS = 64, DEEPEST = 4 };

/* A field: its bytes, and its content where it is one of bytes. */
typedef struct {
    size_t start, content, end;
    int has_content;
} field;

static uint32_t next_random(uint32_t *state) { /* xorshift32, Marsaglia 2003 */
    uint32_t x = *state;
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return *state = x;
}

static size_t read_fields(sp_slice message, field *fields) {
    sp_cursor in = sp_cursor_over(message);
    size_t count = 0;
    while (in.p != in.end && count < MAX_FIELDS) {
        field *found = &fields[count];
        uint32_t tag;
        uint64_t varint;
        sp_slice bytes;
        *found = (field){.start = (size_t)(in.p - message.data)};
        if (!sp_read_tag(&in, &tag)) break;
        if ((tag & 7) == SP_WIRE_BYTES) {
            if (!sp_read_bytes(&in, &bytes)) break;
            found->content = (size_t)(bytes.data - message.data);
            found->has_content = 1;
        } else if ((tag & 7) == SP_WIRE_VARINT) {
            if (!sp_read_varint(&in, &varint)) break;
        } else if ((tag & 7) == SP_WIRE_FIXED64 || (tag & 7) == SP_WIRE_FIXED32) {
            if (!sp_skip_bytes(&in, (tag & 7) == SP_WIRE_FIXED64 ? 8 : 4)) break;
        } /* a group's start and end are fields here: one can go without the other */
        found->end = (size_t)(in.p - message.data);
        count++;
    }
    return count;
}

/* Put `bytes` where [start, end) was. Returns the new size, or the old one where there is no room. */
static size_t splice(uint8_t *data, size_t size, size_t max_size, size_t start, size_t end, sp_slice bytes) {
    if (bytes.size > max_size - (size - (end - start))) return size;
    memmove(data + start + bytes.size, data + end, size - end);
    if (bytes.size) memcpy(data + start, bytes.data, bytes.size);
    return size - (end - start) + bytes.size;
}

static size_t mutate(uint8_t *data, size_t size, size_t max_size, uint32_t *random, unsigned depth);

/* Mutate what is in the field; its tag stays, its length follows. */
static size_t mutate_inside(uint8_t *data, size_t size, size_t max_size, field inside, uint32_t *random,
                            unsigned depth) {
    size_t content_size = inside.end - inside.content, room = content_size + (max_size - size);
    uint8_t *content = malloc(room + 5), length[10];
    if (content == NULL) return size;
    memcpy(content, data + inside.content, content_size);
    content_size = mutate(content, content_size, room, random, depth);
    size_t tag_size = 1;
    while (data[inside.start + tag_size - 1] >= 0x80) tag_size++;
    size_t length_size = (size_t)(sp_varint_write(length, content_size) - length);
    memmove(content + length_size, content, content_size); /* room + 5: the length goes before */
    memcpy(content, length, length_size);
    size = splice(data, size, max_size, inside.start + tag_size, inside.end,
                  (sp_slice){content, length_size + content_size});
    free(content);
    return size;
}

static size_t mutate(uint8_t *data, size_t size, size_t max_size, uint32_t *random, unsigned depth) {
    field fields[MAX_FIELDS];
    size_t count = depth < DEEPEST ? read_fields((sp_slice){data, size}, fields) : 0;
    uint32_t choice = next_random(random) % 8;
    if (count == 0 || choice >= 6) return LLVMFuzzerMutate(data, size, max_size);
    field one = fields[next_random(random) % count], other = fields[next_random(random) % count];
    if (choice < 4) {
        if (!one.has_content) return LLVMFuzzerMutate(data, size, max_size);
        return mutate_inside(data, size, max_size, one, random, depth + 1);
    }
    if (choice == 4 && count > 1) return splice(data, size, max_size, one.start, one.end, (sp_slice){NULL, 0});
    uint8_t *copy = malloc(one.end - one.start);
    if (copy == NULL) return size;
    memcpy(copy, data + one.start, one.end - one.start);
    size = splice(data, size, max_size, other.start, other.start, (sp_slice){copy, one.end - one.start});
    free(copy);
    return size;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed) {
    uint32_t random = seed | 1;
    return mutate(data, size, max_size, &random, 0);
}
