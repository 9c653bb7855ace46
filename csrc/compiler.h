/* What C11 leaves to compilers: the one place that knows GCC's and Clang's words for it.
 *
 * On Windows these come with MinGW. Microsoft's own compiler has neither 128-bit integers nor a way to turn on an
 * instruction set for one function.
 */
#ifndef SP_COMPILER_H
#define SP_COMPILER_H

#include <stdint.h>

#if !defined(__GNUC__) && !defined(__clang__)
#error "csrc is compiled by GCC or Clang; on Windows by MinGW's: python setup.py build_ext --compiler=mingw32"
#elif !defined(__SIZEOF_INT128__) || UINTPTR_MAX < UINT64_MAX
#error "csrc takes a 64-bit processor"
#endif

#define SP_TARGET(instruction_sets) __attribute__((target(instruction_sets)))
#define SP_ALWAYS_INLINE inline __attribute__((always_inline))
#define SP_NOINLINE __attribute__((noinline))

/* Bring a line into the cache, to be read or to be written; p need not be a valid address. */
#define SP_PREFETCH(p) __builtin_prefetch(p)
#define SP_PREFETCH_WRITE(p) __builtin_prefetch(p, 1)

/* Barriers for the optimiser that cost no instruction. The value of a vector register is computed here; how `register`
 * is named depends on the instruction set. The compiler may not know where a pointer points. */
#define SP_COMPUTED(register, x) __asm__("" : "+" register(x))
#define SP_HIDDEN(p) __asm__("" : "+r"(p))

typedef unsigned __int128 sp_uint128;

/* How many zero bits are above the highest that is set; of 0, undefined. */
static inline unsigned sp_leading_zeros(uint64_t value) {
    return (unsigned)__builtin_clzll(value);
}

static inline unsigned sp_bits_set(unsigned value) {
    return (unsigned)__builtin_popcount(value);
}

/* What threads share in structures that Cython declares too: it has no word for atomic types. */
#define SP_LOAD_ACQUIRE(place) __atomic_load_n(place, __ATOMIC_ACQUIRE)
#define SP_STORE_RELEASE(place, value) __atomic_store_n(place, value, __ATOMIC_RELEASE)
#define SP_EXCHANGE_ACQUIRE(place, value) __atomic_exchange_n(place, value, __ATOMIC_ACQUIRE)
/* Where `place` has *expected, give it `value`, and be true; else *expected is what it has. */
#define SP_REPLACE(place, expected, value)                                                                             \
    __atomic_compare_exchange_n(place, expected, value, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)

#endif
