"""MD5 of partition keys and of messages, with every kernel, beside hashlib."""

from __future__ import annotations

import random
from functools import partial

import pytest

from shardpack import hash_keys
from shardpack._native.md5 import _md5_many
from shardpack.bench import peers

MESSAGE_SIZES = (10, 100, 1_000, 10_000, 100_000, 1_000_000)
HASH_KEYS = "hash keys by key length"
MESSAGES = "MD5 by message size"


def keys_of(length: int, count: int) -> list[str]:
    return [f"{i:0{length}d}" for i in range(count)]


@pytest.fixture(scope="module")
def messages(smoke):
    def make(size: int) -> list[bytes]:
        rng = random.Random(size)
        return [rng.randbytes(size) for _ in range(16 if smoke else min(32_000_000 // size, 20_000))]

    return make


@pytest.mark.parametrize("length", [8, 36, 256])
def bench_hash_keys(measure, kernel, count, length):
    keys = keys_of(length, count(100_000))
    found = hash_keys(keys)
    assert [found[i] for i in range(len(keys))] == peers.hashlib_hash_keys(keys)
    measure(partial(hash_keys, keys), group=HASH_KEYS, contender=kernel, at=length, amount=len(keys), unit="keys")


@pytest.mark.parametrize("length", [8, 36, 256])
def bench_hash_keys_hashlib(measure, count, length):
    keys = keys_of(length, count(100_000))
    run = partial(peers.hashlib_hash_keys, keys)
    measure(run, group=HASH_KEYS, contender="hashlib", at=length, amount=len(keys), unit="keys")


@pytest.mark.parametrize("size", MESSAGE_SIZES)
def bench_messages(measure, kernel, messages, size):
    batch = messages(size)
    assert _md5_many(batch) == peers.hashlib_md5(batch)
    measure(
        partial(_md5_many, batch), group=MESSAGES, contender=kernel, at=size, amount=size * len(batch), unit="bytes"
    )


@pytest.mark.parametrize("size", MESSAGE_SIZES)
def bench_messages_hashlib(measure, messages, size):
    batch = messages(size)
    run = partial(peers.hashlib_md5, batch)
    measure(run, group=MESSAGES, contender="hashlib", at=size, amount=size * len(batch), unit="bytes")
