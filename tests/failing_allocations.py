"""A library that stands before malloc and fails as told, for processes that are started with it."""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
from pathlib import Path

FAILING = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>

/* The next `failing_at`-th allocation from here fails, and those behind it, until it is 0 again. Of those of `large`
   bytes and more, if that is not 0, 3 of 10 fail at random. */
__attribute__((visibility("default"))) long failing_at, failed, large;

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);

static int fails(size_t size) {
    static __thread unsigned long long random = 88172645463325252;
    if (large && size >= (size_t)large) {
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        if (random % 10 < 3) return failed++, 1;
    }
    if (failing_at == 0) return 0;
    if (failing_at > 1) return failing_at--, 0;
    failed++;
    return 1;
}

void *malloc(size_t size) { return fails(size) ? NULL : __libc_malloc(size); }
void *calloc(size_t count, size_t size) { return fails(count * size) ? NULL : __libc_calloc(count, size); }
void *realloc(void *memory, size_t size) { return fails(size) ? NULL : __libc_realloc(memory, size); }
"""


def build(directory: Path) -> str:
    """Compile it; returns what LD_PRELOAD is to be."""
    source, library = directory / "failing.c", directory / "failing.so"
    source.write_text(FAILING)
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    subprocess.run(
        [shutil.which(compiler) or "cc", "-std=gnu11", "-O1", "-fPIC", "-shared", "-o", library, source], check=True
    )
    return str(library)
