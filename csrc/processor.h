/* What this processor can execute, under an operating system that saves the registers for it.
 *
 * CPUID says the one, XGETBV which registers are saved at a switch of threads. Wide vectors need both.
 */
#ifndef SP_PROCESSOR_H
#define SP_PROCESSOR_H

#if defined(__x86_64__)

#include <cpuid.h>

enum {
    SP_SAVED_YMM = 0x06, /* xmm, upper halves of ymm */
    SP_SAVED_ZMM = 0xe6, /* and mask registers, upper halves of zmm 0 to 15, zmm 16 to 31 */
};

/* Are all of these features of CPUID leaf 7 there, by the register that tells them, and these registers saved? */
static inline int sp_processor_has(unsigned in_ebx, unsigned in_ecx, unsigned saved) {
    unsigned eax, ebx, ecx, edx, low, high;

    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx & bit_OSXSAVE)) {
        return 0;
    }
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    if ((low & saved) != saved) {
        return 0;
    }
    return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && (ebx & in_ebx) == in_ebx && (ecx & in_ecx) == in_ecx;
}

#endif

#endif
