cdef extern from *:
    """
    #include "compiler.h"
    #include <stdlib.h>

    /* Have the C library expect that blocks as large as bodies come and go. glibc gives the end of its heap back to the
     * system as soon as twice the largest block that was ever unmapped is free there: between two responses of 10 MB
     * that is nearly always, and then each costs 6,000 page faults, as much time as all the rest. It goes by what was
     * unmapped once; other libraries take no notice. Nothing is touched, so only address space is taken. */
    static void sp_expect_large_blocks(size_t size) {
        static int told;
        if (!SP_EXCHANGE_ACQUIRE(&told, 1)) {
            void *volatile block = malloc(size);
            free(block);
        }
    }
    """
    void sp_expect_large_blocks(size_t size) noexcept nogil


cdef enum:
    LARGEST_EXPECTED = 31 * 1024 * 1024  # glibc goes by blocks of up to 32 MiB
