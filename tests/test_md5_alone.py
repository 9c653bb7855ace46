"""csrc/md5 built by itself, without Python: its edges at the edges of memory."""

from __future__ import annotations

import ctypes
import hashlib
import mmap
import random
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

CSRC = Path(__file__).parent.parent / "csrc"
PAGE = mmap.PAGESIZE
PROT_NONE, PROT_READ, PROT_WRITE = 0, 1, 2


class Slice(ctypes.Structure):
    _fields_ = (("data", ctypes.c_void_p), ("size", ctypes.c_size_t))


class Kernel(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("many", ctypes.CFUNCTYPE(None, ctypes.POINTER(Slice), ctypes.c_size_t, ctypes.c_void_p)),
        ("supported", ctypes.CFUNCTYPE(ctypes.c_int)),
    )


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    """The MD5 files of csrc, compiled strictly and linked into a library of their own."""
    out = tmp_path_factory.mktemp("md5") / "md5.so"
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    sources = sorted(map(str, CSRC.glob("md5*.c")))
    strict = ["-std=c11", "-O2", "-fPIC", "-Wall", "-Wextra", "-Wshadow", "-Werror"]
    subprocess.run([shutil.which(compiler) or "cc", *strict, "-shared", "-o", str(out), *sources], check=True)
    return ctypes.CDLL(str(out))


@pytest.fixture(scope="session")
def kernels(library):
    count = ctypes.c_size_t.in_dll(library, "sp_md5_kernel_count").value
    table = (Kernel * count).in_dll(library, "sp_md5_kernels")
    return [kernel for kernel in table if kernel.supported()]


@pytest.fixture
def guarded():
    """Memory whose next page must not be touched: address and size."""
    libc = ctypes.CDLL(None, use_errno=True)
    size = 4 * PAGE
    memory = mmap.mmap(-1, size + PAGE)
    handle = ctypes.c_char.from_buffer(memory)
    address = ctypes.addressof(handle)
    fence = ctypes.c_void_p(address + size)
    assert libc.mprotect(fence, ctypes.c_size_t(PAGE), PROT_NONE) == 0
    yield address, size
    assert libc.mprotect(fence, ctypes.c_size_t(PAGE), PROT_READ | PROT_WRITE) == 0
    del handle
    memory.close()


def digests_of(kernel, slices):
    out = ctypes.create_string_buffer(16 * len(slices) + 1)
    out[16 * len(slices)] = b"\x5a"
    kernel.many((Slice * len(slices))(*slices), len(slices), ctypes.addressof(out))
    assert out[16 * len(slices)] == b"\x5a", "wrote past the digests"
    return [out[16 * i : 16 * i + 16] for i in range(len(slices))]


def test_the_last_byte_before_memory_ends(kernels, guarded):
    """Every length up to 300, in every lane of a full batch, ends on the last readable byte."""
    address, size = guarded
    content = random.Random(0).randbytes(size)
    ctypes.memmove(address, content, size)
    for kernel in kernels:
        for count in (1, 3, 4, 5, 8, 13, 16, 31, 32, 33, 65):
            for longest in range(count, 300, count):
                sizes = range(longest - count, longest)
                found = digests_of(kernel, [Slice(address + size - n, n) for n in sizes])
                assert found == [hashlib.md5(content[size - n :]).digest() for n in sizes], kernel.name
        found = digests_of(kernel, [Slice(address, size)] * 40)
        assert found == [hashlib.md5(content).digest()] * 40, kernel.name


def test_every_alignment(kernels, guarded):
    address, size = guarded
    content = random.Random(1).randbytes(size)
    ctypes.memmove(address, content, size)
    for kernel in kernels:
        for length in (0, 1, 55, 56, 64, 65, 129, 1000):
            found = digests_of(kernel, [Slice(address + at, length) for at in range(67)])
            assert found == [hashlib.md5(content[at : at + length]).digest() for at in range(67)], kernel.name


def test_empty_messages_need_no_address(kernels):
    for kernel in kernels:
        for count in (1, 4, 16, 33):
            assert digests_of(kernel, [Slice(None, 0)] * count) == [hashlib.md5(b"").digest()] * count, kernel.name
        assert digests_of(kernel, []) == []


def test_the_kernel_in_use_can_be_chosen(library, kernels):
    library.sp_md5_kernel_name.restype = ctypes.c_char_p
    for kernel in kernels:
        assert library.sp_md5_set_kernel(kernel.name) == 0
        assert library.sp_md5_kernel_name() == kernel.name
    assert library.sp_md5_set_kernel(b"sse9") == -1
    assert library.sp_md5_kernel_name() == kernels[-1].name
    library.sp_md5_select_kernel()
    assert library.sp_md5_kernel_name() == kernels[0].name
