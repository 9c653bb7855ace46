"""csrc on AArch64 without such a machine: compiled strictly; the MD5 kernels under emulation, against hashlib."""

from __future__ import annotations

import hashlib
import random
import signal
import subprocess
from pathlib import Path

import emulated
import pytest
from emulated import COMPILER, STRICT

TESTS = Path(__file__).parent
CSRC = TESTS.parent / "csrc"

KERNELS = ["neon", "portable"]
SIDE_BY_SIDE = 8
"""The most messages the NEON kernel takes at once."""

PLACES = 3
"""In how many places of its memory md5_emulated.c hashes a message."""


@pytest.fixture(scope="module", autouse=True)
def _tools():
    emulated.demand_tools()


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """md5_emulated.c with the MD5 files of csrc."""
    out = tmp_path_factory.mktemp("emulated") / "md5"
    return emulated.build(out, [TESTS / "md5_emulated.c", *sorted(CSRC.glob("md5_*.c"))])


def encode(messages):
    """One batch of md5_emulated.c's input, digests by hashlib."""
    parts = [len(messages).to_bytes(4, "little")]
    for message in messages:
        parts += [len(message).to_bytes(4, "little"), hashlib.md5(message).digest(), message]
    return b"".join(parts)


def check(program, batches):
    done = emulated.run(program, stdin=b"".join(map(encode, batches)))
    assert not done.stderr
    hashed = PLACES * sum(map(len, batches))
    assert done.stdout.decode().splitlines() == [KERNELS[0], *(f"{name} {hashed}" for name in KERNELS)]
    assert done.returncode == 0


@pytest.mark.parametrize("source", sorted(path.name for path in CSRC.glob("*.c")))
def test_compiles_without_a_warning(source, tmp_path):
    subprocess.run([*COMPILER, *STRICT, "-c", CSRC / source, "-o", tmp_path / "out.o"], check=True)


def test_every_length_in_every_number_of_messages(program):
    """Alike, in order and shuffled: one block, tiny or short, several blocks, and lanes that end apart."""
    rng = random.Random(0)
    messages = [rng.randbytes(size) for size in range(131)]
    batches = [messages]
    for count in range(1, 2 * SIDE_BY_SIDE + 2):
        batches += [messages[at : at + count] for at in range(0, len(messages), count)]
        batches += [rng.sample(messages, count) for _ in range(10)]
        batches += [[rng.randbytes(size) for _ in range(count)] for size in (0, 1, 15, 16, 55, 56, 64, 119, 120)]
    check(program, batches)


def test_mixed_lengths_to_megabytes(program):
    rng = random.Random(1)
    batches = [
        [rng.randbytes(int(2 ** rng.uniform(0, limit))) for _ in range(count)]
        for limit in (8, 12, 16)
        for count in range(1, 2 * SIDE_BY_SIDE + 2)
    ]
    batches += [[rng.randbytes(3_000_001)], [rng.randbytes(size) for size in (5, 3_000_000, 0, 1_048_576, 70_000)]]
    check(program, batches)


def test_a_wrong_digest_is_found(program):
    """So that silence above means something: one bit of the last expectation is turned."""
    messages = [bytes(size) for size in range(SIDE_BY_SIDE)]
    stdin = bytearray(encode(messages))
    stdin[-len(messages[-1]) - 1] ^= 1
    done = emulated.run(program, stdin=bytes(stdin))
    assert done.returncode == 1
    for kernel in KERNELS:
        assert done.stdout.decode().count(f"{kernel}: message 7 of 8, 7 bytes") == PLACES
    assert done.stdout.count(b": message") == PLACES * len(KERNELS)


@pytest.mark.parametrize("side", ["before", "behind"])
def test_a_read_outside_the_memory_is_found(program, side):
    assert emulated.run(program, side).returncode == -signal.SIGSEGV
