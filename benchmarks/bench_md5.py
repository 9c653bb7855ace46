"""MD5 of partition keys and of large messages, with every kernel, beside hashlib."""

from __future__ import annotations

import hashlib

import pytest

from shardpack import _md5, hash_keys

KEYS = [f"device-{i}" for i in range(100_000)]
MESSAGES = [bytes([i]) * (1 << 20) for i in range(32)]


def hashlib_keys():
    return [int.from_bytes(hashlib.md5(key.encode()).digest(), "big") for key in KEYS]


def hashlib_messages():
    return [hashlib.md5(message).digest() for message in MESSAGES]


@pytest.fixture(params=_md5._kernels())
def kernel(request):
    before = _md5._kernel()
    _md5._set_kernel(request.param)
    yield request.param
    _md5._set_kernel(before)


def bench_hash_keys(benchmark, kernel):
    assert list(hash_keys(KEYS)) == hashlib_keys()
    benchmark.group = "hash keys, 100,000 short ones"
    benchmark.pedantic(hash_keys, (KEYS,), rounds=10, warmup_rounds=1)


def bench_hash_keys_hashlib(benchmark):
    benchmark.group = "hash keys, 100,000 short ones"
    benchmark.pedantic(hashlib_keys, rounds=3, warmup_rounds=1)


def bench_messages(benchmark, kernel):
    assert _md5._md5_many(MESSAGES) == hashlib_messages()
    benchmark.group = "MD5 of 32 messages of 1 MiB"
    benchmark.pedantic(_md5._md5_many, (MESSAGES,), rounds=5, warmup_rounds=1)


def bench_messages_hashlib(benchmark):
    benchmark.group = "MD5 of 32 messages of 1 MiB"
    benchmark.pedantic(hashlib_messages, rounds=3, warmup_rounds=1)
