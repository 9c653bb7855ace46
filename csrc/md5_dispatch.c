/* Which MD5 kernel this process uses. The one mutable global of csrc lives here. */
#include "md5.h"

#include <stdatomic.h>
#include <string.h>

static int always(void) {
    return 1;
}

const sp_md5_kernel sp_md5_kernels[] = {
    {"portable", sp_md5_many_portable, always},
};
const size_t sp_md5_kernel_count = sizeof sp_md5_kernels / sizeof *sp_md5_kernels;

static const sp_md5_kernel *_Atomic current = &sp_md5_kernels[sizeof sp_md5_kernels / sizeof *sp_md5_kernels - 1];

void sp_md5_many(const sp_slice *messages, size_t n, uint8_t *digests) {
    atomic_load_explicit(&current, memory_order_relaxed)->many(messages, n, digests);
}

const char *sp_md5_kernel_name(void) {
    return atomic_load_explicit(&current, memory_order_relaxed)->name;
}

int sp_md5_set_kernel(const char *name) {
    for (size_t i = 0; i < sp_md5_kernel_count; i++) {
        const sp_md5_kernel *kernel = &sp_md5_kernels[i];
        if (strcmp(kernel->name, name) == 0 && kernel->supported()) {
            atomic_store_explicit(&current, kernel, memory_order_relaxed);
            return 0;
        }
    }
    return -1;
}

void sp_md5_select_kernel(void) {
    for (size_t i = 0; i < sp_md5_kernel_count; i++) {
        if (sp_md5_set_kernel(sp_md5_kernels[i].name) == 0) return;
    }
}
