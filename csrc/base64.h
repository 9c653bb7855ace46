/* Base64 (RFC 4648, section 4): what JSON carries bytes as.
 *
 * Written text has padding and no line breaks, and read text must be so: anything else than the alphabet, or '='
 * elsewhere than in the last two places, is refused. Bits that the last character has too many are dropped, as Python
 * and botocore do. Kernels allocate nothing and keep no state: safe from any thread. `in` and `out` must not overlap.
 *
 * The kernel in use is one atomic pointer, chosen when the process starts (base64_dispatch.c).
 */
#ifndef SP_BASE64_H
#define SP_BASE64_H

#include "compiler.h"

#include <stddef.h>
#include <stdint.h>

/* The characters that n bytes become; no overflow for what lies in memory. */
static inline size_t sp_base64_size(size_t n) {
    return n / 3 * 4 + (n % 3 ? 4 : 0);
}

/* Write exactly sp_base64_size(n) characters. */
typedef void sp_base64_encode_fn(const uint8_t *in, size_t n, uint8_t *out);

/* Return the bytes that `text` stands for, written to `out`, or SIZE_MAX where it is no base64. Reads nothing
 * outside of `text`; writes within n / 4 * 3 bytes of `out`, whatever the text: what is there afterwards behind the
 * bytes returned, or where it is refused, is not defined. */
typedef size_t sp_base64_decode_fn(const uint8_t *text, size_t n, uint8_t *out);

typedef struct {
    const char *name;
    sp_base64_encode_fn *encode;
    sp_base64_decode_fn *decode;
    int (*supported)(void); /* may this processor and operating system run it? */
} sp_base64_kernel;

void sp_base64_encode(const uint8_t *in, size_t n, uint8_t *out);
size_t sp_base64_decode(const uint8_t *text, size_t n, uint8_t *out);

/* The compiled kernels, fastest first; the last is "portable", which runs anywhere. */
extern const sp_base64_kernel sp_base64_kernels[];
extern const size_t sp_base64_kernel_count;

/* The kernel in use, and its choice by name: 0, or -1 when the name is unknown or not supported here. */
const char *sp_base64_kernel_name(void);
int sp_base64_set_kernel(const char *name);

/* The kernels. Only a supported one may be called; each exists on its own architecture only. */
sp_base64_encode_fn sp_base64_encode_portable;
sp_base64_encode_fn sp_base64_encode_avx2;   /* x86-64 */
sp_base64_encode_fn sp_base64_encode_avx512; /* x86-64 */
sp_base64_encode_fn sp_base64_encode_neon;   /* little-endian AArch64 */
sp_base64_decode_fn sp_base64_decode_portable;
sp_base64_decode_fn sp_base64_decode_avx2;   /* x86-64 */
sp_base64_decode_fn sp_base64_decode_avx512; /* x86-64 */
sp_base64_decode_fn sp_base64_decode_neon;   /* little-endian AArch64 */

#endif
