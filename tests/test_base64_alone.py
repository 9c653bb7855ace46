"""csrc/base64 by itself, between unreadable pages: under sanitizers here, under emulation on AArch64."""

from __future__ import annotations

import base64
import os
import random
import subprocess
from pathlib import Path

import alone
import emulated
import pytest

from shardpack._native import base64 as native_base64

TESTS = Path(__file__).parent
CSRC = TESTS.parent / "csrc"
SOURCES = [TESTS / "base64_alone.c", *sorted(CSRC.glob("base64_*.c"))]
REFUSED = 0xFFFF_FFFF
ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


@pytest.fixture(scope="module", params=["here", "emulated"])
def checked(request, tmp_path_factory):
    """Run base64_alone.c over cases; return its status and lines, and the kernels that it has to try."""
    out = tmp_path_factory.mktemp("base64") / request.param
    if request.param == "emulated":
        emulated.demand_tools()
        program = emulated.build(out, SOURCES)
        return lambda cases: told(emulated.run(program, stdin=b"".join(cases))), ["neon", "portable"]
    program = alone.build(out, [str(path.relative_to(alone.ROOT)) for path in SOURCES])
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}

    def run(cases):
        return told(subprocess.run(program, input=b"".join(cases), env=environment, capture_output=True, check=False))

    return run, native_base64._kernels()


def told(done):
    assert not done.stderr
    return done.returncode, done.stdout.decode().splitlines()


def case(what, given, expected):
    size = REFUSED if expected is None else len(expected)
    return b"%c%b%b%b%b" % (what, len(given).to_bytes(4, "little"), size.to_bytes(4, "little"), given, expected or b"")


def round_trip(data):
    text = base64.b64encode(data)
    return [case(b"e", data, text), case(b"d", text, data)]


def check(checked, cases):
    run, kernels = checked
    assert run(cases) == (0, [f"{name} {len(cases)}" for name in kernels])


def test_every_length(checked):
    rng = random.Random(0)
    check(checked, [each for size in [*range(301), 10_000, 100_001] for each in round_trip(rng.randbytes(size))])


def test_wrong_characters_wherever_they_are(checked):
    """None is read as another, and where text is refused, nothing is written beyond what it could have stood for."""
    cases = []
    for size in (4, 8, 32, 44, 64, 68, 128, 132, 136):
        text = (ALPHABET * 3)[:size]
        for at in range(size):
            wrong = b"\x00\n*,-.:@[`{\x7f\x80\xff\xc1" + (b"=" if at < size - 1 else b"")
            cases += [case(b"d", text[:at] + bytes([each]) + text[at + 1 :], None) for each in wrong]
        cases += [case(b"d", text[:-1], None), case(b"d", text + b"A", None), case(b"d", text + b"A===", None)]
    check(checked, cases)


def test_a_wrong_result_is_found(checked):
    run, kernels = checked
    status, lines = run([case(b"e", b"abc", b"YWJj"), case(b"d", b"YWJj", b"abd")])
    assert status == 1
    for name in kernels:
        assert lines.count(f"{name}: another result for 4 bytes") == 2
