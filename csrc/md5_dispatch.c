/* Which MD5 kernel this processor, under this operating system, may and should run. */
#include <stdatomic.h>
#include <string.h>

#include "md5.h"
#include "processor.h"

static int always(void) {
    return 1;
}

#if defined(__x86_64__)

static int has_avx2(void) {
    return sp_processor_has(bit_AVX2, 0, SP_SAVED_YMM);
}

static int has_avx512(void) {
    return sp_processor_has(bit_AVX2 | bit_BMI2 | bit_AVX512F | bit_AVX512BW | bit_AVX512VL, 0, SP_SAVED_ZMM);
}

#endif

/* clang-format off */
const sp_md5_kernel sp_md5_kernels[] = {
#if defined(__x86_64__)
    {"avx512", sp_md5_many_avx512, has_avx512},
    {"avx512vl", sp_md5_many_avx512vl, has_avx512},
    {"avx2", sp_md5_many_avx2, has_avx2},
    {"sse2", sp_md5_many_sse2, always},
#elif defined(__aarch64__) && !defined(__ARM_BIG_ENDIAN)
    {"neon", sp_md5_many_neon, always},
#endif
    {"portable", sp_md5_many_portable, always},
};
/* clang-format on */

const size_t sp_md5_kernel_count = sizeof sp_md5_kernels / sizeof sp_md5_kernels[0];

/* The kernel in use; NULL until somebody asks or chooses. */
static const sp_md5_kernel *_Atomic in_use;

static const sp_md5_kernel *fastest(void) {
    const sp_md5_kernel *k = sp_md5_kernels;

    while (!k->supported()) { /* the last one is */
        k++;
    }
    return k;
}

void sp_md5_select_kernel(void) {
    in_use = fastest();
}

static const sp_md5_kernel *kernel(void) {
    const sp_md5_kernel *k = in_use;

    /* Unless another thread chooses meanwhile: then its choice stands, and k becomes it. */
    if (!k && atomic_compare_exchange_strong(&in_use, &k, fastest())) {
        k = in_use;
    }
    return k;
}

const char *sp_md5_kernel_name(void) {
    return kernel()->name;
}

int sp_md5_set_kernel(const char *name) {
    for (size_t i = 0; i < sp_md5_kernel_count; i++) {
        if (strcmp(name, sp_md5_kernels[i].name) == 0) {
            if (!sp_md5_kernels[i].supported()) {
                return -1;
            }
            in_use = &sp_md5_kernels[i];
            return 0;
        }
    }
    return -1;
}

void sp_md5_many(const sp_slice *messages, size_t n, uint8_t *digests) {
    kernel()->many(messages, n, digests);
}
