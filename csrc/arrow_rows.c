#include "arrow_rows.h"

#include "compiler.h"

/* The first row from `low` on whose parent is after `parent`: double the step, then halve it. Parents have one row, or
 * thousands. */
static size_t behind(const int32_t *parent_of, size_t low, size_t n, int32_t parent) {
    size_t step = 1;
    while (low < n && parent_of[low] <= parent) {
        low += step;
        step *= 2;
    }
    if (step == 1) return low;
    size_t known = low - step / 2; /* whose parent is not after it */
    size_t high = low < n ? low : n;
    while (high - known > 1) {
        size_t middle = known + (high - known) / 2;
        if (parent_of[middle] <= parent) {
            known = middle;
        } else {
            high = middle;
        }
    }
    return high;
}

void sp_rows_starts(const int32_t *parent_of, size_t n, size_t parents, int64_t *starts) {
    size_t row = 0;
    for (size_t p = 0; p < parents; p++) {
        starts[p] = (int64_t)row;
        row = behind(parent_of, row, n, (int32_t)p);
    }
    starts[parents] = (int64_t)row;
}

void sp_rows_fill_int32(const int64_t *starts, const int32_t *values, size_t parents, int32_t *out) {
    for (size_t p = 0; p < parents; p++) {
        for (int64_t i = starts[p]; i < starts[p + 1]; i++) out[i] = values[p];
    }
}

void sp_rows_fill_int64(const int64_t *starts, const int64_t *values, size_t parents, int64_t *out) {
    for (size_t p = 0; p < parents; p++) {
        for (int64_t i = starts[p]; i < starts[p + 1]; i++) out[i] = values[p];
    }
}

static void set_bits(uint8_t *bits, int64_t from, int64_t to) {
    while (from < to && from % 8) {
        bits[from / 8] |= (uint8_t)(1u << from % 8);
        from++;
    }
    for (; to - from >= 8; from += 8) bits[from / 8] = 0xff;
    for (; from < to; from++) bits[from / 8] |= (uint8_t)(1u << from % 8);
}

void sp_rows_fill_bits(const int64_t *starts, const uint8_t *values, size_t parents, uint8_t *out) {
    for (size_t p = 0; p < parents; p++) {
        if (values[p]) set_bits(out, starts[p], starts[p + 1]);
    }
}

void sp_rows_map(const int32_t *indices, size_t n, const int32_t *places, int32_t *out) {
    for (size_t i = 0; i < n; i++) out[i] = places[indices[i]];
}

size_t sp_rows_group(const int32_t *indices, const int32_t *places, size_t n, uint32_t *known, int32_t *groups,
                     int32_t *place_of, int32_t *last, int32_t *sizes) {
    uint32_t count = 0;
    for (size_t i = 0; i < n; i++) {
        int32_t place = indices[i] < 0 ? -1 : places[i];
        uint32_t *number = &known[(ptrdiff_t)place + 1];
        if (!*number) {
            place_of[count] = place;
            sizes[count] = 0;
            *number = ++count;
        }
        uint32_t group = *number - 1;
        groups[i] = (int32_t)group;
        last[group] = (int32_t)i;
        sizes[group]++;
    }
    return count;
}

size_t sp_rows_validity(const int32_t *indices, size_t n, uint8_t *out) {
    size_t valid = 0;
    for (size_t i = 0; i < n; i += 8) {
        size_t end = n - i < 8 ? n : i + 8;
        unsigned bits = 0;
        for (size_t j = i; j < end; j++) bits |= (unsigned)(indices[j] >= 0) << (j - i);
        out[i / 8] = (uint8_t)bits;
        valid += sp_bits_set(bits);
    }
    return n - valid;
}
