/* Which MD5 kernel this processor, under this operating system, may and should run. */
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

#define KERNEL_NAME(name) sp_md5_##name
#include "kernel_choice.h"

void sp_md5_select_kernel(void) {
    in_use = fastest();
}

void sp_md5_many(const sp_slice *messages, size_t n, uint8_t *digests) {
    kernel()->many(messages, n, digests);
}
