"""Dictionaries by ``compression.zstd`` of Python 3.14, or by what brings it to Pythons before."""

from __future__ import annotations

import subprocess
import sys

import pytest

BACKPORT = sys.version_info < (3, 14)

CODE = """
import sys, types
if BACKPORT:
    import backports.zstd
    sys.modules["compression"] = package = types.ModuleType("compression")
    package.zstd = sys.modules["compression.zstd"] = backports.zstd
import zstandard
from payloads import dictionary, event
from shardpack.codec import DictionaryCodec, PayloadReader, train, zstd
from shardpack.errors import PayloadError
datas = [event(i) for i in range(300)] + [b"", b"\\xf8Zab", bytes(100_000), event(1) * 20_000, b"\\xf8Z" * 99]
other = DictionaryCodec(dictionary(7))
by_other = other.encode_many(datas)
del sys.modules["shardpack.codec.zstd_dictionary_zstandard"]
sys.modules["zstandard"] = None
assert zstd.dictionary_library().__name__.endswith("_python")
codec, reader = DictionaryCodec(dictionary(7)), PayloadReader(dictionary(7))
payloads = codec.encode_many(datas)
for some in (payloads, by_other):
    assert [payload.data for payload in reader.read(some)] == datas
assert [len(each) for each in payloads] == [len(each) for each in by_other]
good = payloads[0]
damaged = [good[:-1], good[:12] + b"\\xff\\xff" + good[14:], good[:5] + b"\\x05" + good[6:]]
for payload in reader.read(damaged):
    assert isinstance(payload.error, PayloadError) and payload.data in damaged, payload
made = train([event(i) for i in range(2_000)], 4096, dictionary_id=9)
assert PayloadReader(made).data(DictionaryCodec(made, level=9).encode(event(1))) == event(1)
for wrong in (lambda: DictionaryCodec(made[:8] + bytes(99)), lambda: train([b"a"])):
    try:
        wrong()
    except ValueError as error:
        assert "damaged" in str(error) or "make no dictionary" in str(error)
    else:
        raise AssertionError
"""


def test_the_standard_library_reads_and_writes_the_same():
    pytest.importorskip("zstandard")  # what it is compared with
    if BACKPORT:
        pytest.importorskip("backports.zstd")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"BACKPORT = {BACKPORT}\n{CODE}"],
        cwd=__file__.rpartition("/")[0],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
