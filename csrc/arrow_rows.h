/* Fill a row for each user record with what is said once for each Kinesis record, its parent.
 *
 * The rows of a parent follow one another: from starts[p] to starts[p + 1]. Bitmaps are Arrow's, the lowest bit first,
 * and zero before they are filled. Sizes are n rows and `parents` Kinesis records.
 */
#ifndef SP_ARROW_ROWS_H
#define SP_ARROW_ROWS_H

#include <stddef.h>
#include <stdint.h>

/* The rows' parents, in ascending order, give starts[parents + 1]. */
void sp_rows_starts(const int32_t *parent_of, size_t n, size_t parents, int64_t *starts);

void sp_rows_fill_int32(const int64_t *starts, const int32_t *values, size_t parents, int32_t *out);
void sp_rows_fill_int64(const int64_t *starts, const int64_t *values, size_t parents, int64_t *out);
void sp_rows_fill_bits(const int64_t *starts, const uint8_t *values, size_t parents, uint8_t *out);

/* out[i] = places[indices[i]]; an index of -1 reads the place before the first. */
void sp_rows_map(const int32_t *indices, size_t n, const int32_t *places, int32_t *out);

/* Groups of rows with the same place, or without one, which an index of -1 says; numbered in the order of their first
 * rows. `groups` gets that of each row, and for each group `place_of` its place, or -1, `last` its last row and `sizes`
 * how many it has; all have room for n. `known` has a 0 for each place, and one before them. Returns how many groups
 * there are. */
size_t sp_rows_group(const int32_t *indices, const int32_t *places, size_t n, uint32_t *known, int32_t *groups,
                     int32_t *place_of, int32_t *last, int32_t *sizes);

/* A bit for every index that is not negative. Returns how many are. */
size_t sp_rows_validity(const int32_t *indices, size_t n, uint8_t *out);

#endif
