"""What `put` reads: files and pipes, compressed or not, whole or damaged."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import sys
from threading import Thread

import pytest
import zstandard

from shardpack.cli.compression import FORMATS, CompressionError, Unpacker
from shardpack.cli.ndjson import BadLineError, KeyFields, Lines
from shardpack.cli.outcome import BadInputError
from shardpack.cli.source import CHUNK_BYTES, Source

COMPRESS = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zstandard.compress}
NAMES = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zst": "Zstandard"}
TEXT = b"".join(b'{"id":"device-%d","n":%d}\n' % (i % 13, i * i) for i in range(20_000))
SUFFIXES = sorted(COMPRESS)


def unpack(content: bytes, step: int, name: str = "-") -> bytes:
    """Feed ``content`` by ``step`` bytes."""
    unpacker = Unpacker(name)
    found = []
    for i in range(0, len(content), step):
        unpacker.feed(content[i : i + step])
        while piece := unpacker.read(4096):
            found.append(piece)
        assert unpacker.empty
    return b"".join(found) + unpacker.finish()


def read_all(source: Source) -> bytes:
    found = []
    while (piece := source.read(10)) != b"":
        assert piece is not None
        found.append(piece)
    assert source.read(10) == b""
    source.close()
    return b"".join(found)


def test_every_format_is_tried():
    assert {form.suffix for form in FORMATS} == set(COMPRESS)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("named", [True, False])
def test_compressed_files_are_told_by_how_they_begin(tmp_path, suffix, named):
    file = tmp_path / (f"events{suffix}" if named else "events.ndjson")
    file.write_bytes(COMPRESS[suffix](TEXT))
    source = Source(str(file))
    assert source.size == file.stat().st_size
    assert read_all(source) == TEXT


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_compressed_bytes_are_unpacked_as_they_come(suffix, step):
    text = TEXT[:50_000]
    assert unpack(COMPRESS[suffix](text), step) == text
    several = COMPRESS[suffix](text) + COMPRESS[".gz"](b"") + COMPRESS[suffix](b"last")
    assert unpack(several, step) == text + b"last"
    assert unpack(COMPRESS[suffix](text) + bytes(1024), step) == text


@pytest.mark.parametrize("content", [b"", b"{}\n", b"B", b"BZ", b"\x1f", b"(", b"PK\x03\x04", b"\x00\xff" * 40, TEXT])
@pytest.mark.parametrize("step", [1, 1 << 20])
def test_what_is_not_compressed_passes_as_it_is(content, step):
    assert unpack(content, step) == content


def test_a_skippable_frame_may_come_first():
    assert unpack(b"\x5a\x2a\x4d\x18\x03\0\0\0abc" + zstandard.compress(b"text"), 1) == b"text"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_unpacks_to_very_much_comes_in_pieces(suffix):
    unpacker = Unpacker("-")
    unpacker.feed(COMPRESS[suffix](bytes(200 << 20)))
    sizes = []
    while piece := unpacker.read(CHUNK_BYTES):
        sizes.append(len(piece))
    assert unpacker.finish() == b""
    assert sum(sizes) == 200 << 20
    assert max(sizes) <= (CHUNK_BYTES if suffix != ".zst" else CHUNK_BYTES + (32 << 20))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_damage_is_told_after_what_precedes_it(tmp_path, suffix):
    whole = COMPRESS[suffix](os.urandom(1 << 20).hex().encode())
    begun = COMPRESS[suffix](TEXT)
    for content, says in (
        (begun + whole[: len(whole) // 2], f"the {NAMES[suffix]} data are cut off"),
        (begun + whole[:1000] + b"damage" + whole[1000:], f"the {NAMES[suffix]} data are damaged: "),
        (begun + b"damage", f"what follows the {NAMES[suffix]} data is not compressed"),
    ):
        file = tmp_path / "events"
        file.write_bytes(content)
        source = Source(str(file))
        found: list[bytes] = []
        with pytest.raises(BadInputError, match=f"{file}: {says}"):
            found.extend(iter(lambda: source.read(0), b""))  # noqa: B023
        source.close()
        assert b"".join(found).startswith(TEXT)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("content", [b"", b'{"id":1}\n', b"PK\x03\x04"])
def test_a_name_that_promises_what_is_not_there(suffix, content):
    with pytest.raises(CompressionError, match=rf"not {NAMES[suffix]} data, though its name ends in \{suffix}"):
        unpack(content, 1, f"events{suffix.upper()}")


def test_zstandard_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(CompressionError, match=r"pip install 'shardpack\[codec\]'"):
        unpack(zstandard.compress(TEXT), 1 << 20)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_pipe_gives_what_is_there_before_its_end(tmp_path, suffix):
    """Nothing of what can be unpacked waits for more to come."""
    text = TEXT[:30_000]  # less than a pipe holds
    fifo = tmp_path / "events"
    os.mkfifo(fifo)
    opened = []
    opening = Thread(target=lambda: opened.append(fifo.open("wb", buffering=0)))
    opening.start()
    source = Source(str(fifo))
    opening.join()
    (pipe,) = opened
    try:
        assert source.live
        assert source.read(0) is None
        pipe.write(COMPRESS[suffix](text)[:3])
        assert source.read(0) is None
        pipe.write(COMPRESS[suffix](text)[3:] + COMPRESS[suffix](b"end")[:9])
        found = b""
        while (piece := source.read(0)) is not None:
            found += piece
        assert found == text
    finally:
        pipe.close()
        source.close()


def test_byte_order_marks_are_no_part_of_a_line():
    lines = Lines(1000)
    assert lines.feed(b'\xef\xbb\xbf{"id":1}\r\n{"id":2}\n\xef\xbb\xbf\n\xef\xbb\xbf{"id":3}\n\xef\xbb') == [
        (1, 13, b'{"id":1}'),
        (2, 22, b'{"id":2}'),
        (4, 38, b'{"id":3}'),
    ]
    assert lines.feed(b'\xbf{"id":4}') == []
    assert lines.finish() == [(5, 49, b'{"id":4}')]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_is_named(encoding):
    lines = Lines(1000).feed('\ufeff{"id":"a"}\n'.encode(encoding))
    with pytest.raises(BadLineError, match="line 1: not JSON: this is UTF-16, where UTF-8 is needed"):
        KeyFields("id").of(1, lines[0][2])
