/* Which kernel of a table runs: the first one that this processor supports, unless somebody names another.
 *
 * Included once by each dispatch file, below its table, with KERNEL_NAME(name) giving the concept's names:
 *     KERNEL_NAME(kernel)        the type: a `name`, `supported`, and what it does
 *     KERNEL_NAME(kernels)       the table, fastest first; the last one is always supported
 *     KERNEL_NAME(kernel_count)  how many there are
 * What it gives: `kernel()`, KERNEL_NAME(kernel_name) and KERNEL_NAME(set_kernel).
 */
#include <stdatomic.h>
#include <string.h>

typedef KERNEL_NAME(kernel) any_kernel;

/* The kernel in use; NULL until somebody asks or chooses. */
static const any_kernel *_Atomic in_use;

static const any_kernel *fastest(void) {
    const any_kernel *k = KERNEL_NAME(kernels);

    while (!k->supported()) { /* the last one is */
        k++;
    }
    return k;
}

static const any_kernel *kernel(void) {
    const any_kernel *k = in_use;

    /* Unless another thread chooses meanwhile: then its choice stands, and k becomes it. */
    if (!k && atomic_compare_exchange_strong(&in_use, &k, fastest())) {
        k = in_use;
    }
    return k;
}

const char *KERNEL_NAME(kernel_name)(void) {
    return kernel()->name;
}

int KERNEL_NAME(set_kernel)(const char *name) {
    for (size_t i = 0; i < KERNEL_NAME(kernel_count); i++) {
        if (strcmp(name, KERNEL_NAME(kernels)[i].name) == 0) {
            if (!KERNEL_NAME(kernels)[i].supported()) {
                return -1;
            }
            in_use = &KERNEL_NAME(kernels)[i];
            return 0;
        }
    }
    return -1;
}
