/* MD5 (RFC 1321) of many messages at once.
 *
 * sp_md5_many writes the 16-byte digest of messages[i] at digests + 16 * i, for any mix of lengths.
 * Messages may overlap one another and need no alignment; digests must not overlap a message. No byte
 * outside a message is read. Kernels allocate nothing and keep no state: safe from any thread.
 *
 * Each kernel is the whole function: it fills its lanes, and hands what is left to the next narrower
 * one. The kernel in use is one atomic pointer, chosen when the process starts (md5_dispatch.c).
 */
#ifndef SP_MD5_H
#define SP_MD5_H

#include "slice.h"

enum { SP_MD5_DIGEST_SIZE = 16, SP_MD5_BLOCK_SIZE = 64 };

typedef void sp_md5_many_fn(const sp_slice *messages, size_t n, uint8_t *digests);

typedef struct {
    const char *name;
    sp_md5_many_fn *many;
    int (*supported)(void); /* may this processor and operating system run it? */
} sp_md5_kernel;

void sp_md5_many(const sp_slice *messages, size_t n, uint8_t *digests);

/* The compiled kernels, fastest first; the last is "portable", which runs anywhere. */
extern const sp_md5_kernel sp_md5_kernels[];
extern const size_t sp_md5_kernel_count;

/* The kernel in use, and its choice by name: 0, or -1 when the name is unknown or not supported here. */
const char *sp_md5_kernel_name(void);
int sp_md5_set_kernel(const char *name);

/* Use the fastest supported kernel; what sp_md5_many does until told otherwise. */
void sp_md5_select_kernel(void);

/* The kernels. Only a supported one may be called; each exists on its own architecture only. */
sp_md5_many_fn sp_md5_many_portable;
sp_md5_many_fn sp_md5_many_sse2;     /* x86-64 */
sp_md5_many_fn sp_md5_many_avx2;     /* x86-64 */
sp_md5_many_fn sp_md5_many_avx512vl; /* x86-64 */
sp_md5_many_fn sp_md5_many_avx512;   /* x86-64 */
sp_md5_many_fn sp_md5_many_neon;     /* little-endian AArch64 */

#endif
