/* Which base64 kernel this processor, under this operating system, may and should run. */
#include "base64.h"
#include "processor.h"

static int always(void) {
    return 1;
}

#if defined(__x86_64__)

static int has_avx2(void) {
    return sp_processor_has(bit_AVX2, 0, SP_SAVED_YMM);
}

static int has_avx512(void) {
    return sp_processor_has(bit_AVX2 | bit_AVX512F | bit_AVX512BW | bit_AVX512VL, bit_AVX512VBMI, SP_SAVED_ZMM);
}

#endif

/* clang-format off */
const sp_base64_kernel sp_base64_kernels[] = {
#if defined(__x86_64__)
    {"avx512", sp_base64_encode_avx512, sp_base64_decode_avx512, has_avx512},
    {"avx2", sp_base64_encode_avx2, sp_base64_decode_avx2, has_avx2},
#elif defined(__aarch64__) && !defined(__ARM_BIG_ENDIAN)
    {"neon", sp_base64_encode_neon, sp_base64_decode_neon, always},
#endif
    {"portable", sp_base64_encode_portable, sp_base64_decode_portable, always},
};
/* clang-format on */

const size_t sp_base64_kernel_count = sizeof sp_base64_kernels / sizeof sp_base64_kernels[0];

#define KERNEL_NAME(name) sp_base64_##name
#include "kernel_choice.h"

void sp_base64_encode(const uint8_t *in, size_t n, uint8_t *out) {
    kernel()->encode(in, n, out);
}

size_t sp_base64_decode(const uint8_t *text, size_t n, uint8_t *out) {
    return kernel()->decode(text, n, out);
}
