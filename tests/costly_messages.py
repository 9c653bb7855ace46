"""Messages built to cost as much as their size allows, and what a call costs on one: memory and time.

A message is asked for by name and size; ``measure`` reads it in a process of its own. tests/test_deaggregate_cost.py
bounds the memory, fuzz/cost.py prints a table.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import isolated
import wire

KEY = wire.content(1, b"k")
RECORD = wire.record(0, b"")


def fill(size: int, part: bytes, before: bytes = b"") -> bytes:
    return before + part * ((size - len(before)) // len(part))


def counted(size: int, part: Callable[[int], bytes], before: bytes = b"") -> bytes:
    """As many different parts of one length as fit."""
    return before + b"".join(map(part, range((size - len(before)) // len(part(0)))))


def nested_lengths(size: int) -> bytes:
    """Fields in a field, as many as fit. No reader has to go in."""
    heads, inside = [], 0
    while inside < size - 24:
        heads.append(wire.varint(5 << 3 | wire.BYTES) + wire.varint(inside))
        inside += len(heads[-1])
    return KEY + RECORD + b"".join(reversed(heads))


def one_record(size: int, field: bytes) -> bytes:
    """A record with as many of a field as fit in it."""
    return KEY + wire.record(0, b"", None, fill(size - 32, field))


def distant_hash_keys(size: int) -> bytes:
    """Two hash keys that are long with zeros, and records that name them in turn."""
    tables = KEY + wire.content(2, b"0" * (size // 4)) * 2
    return fill(size, wire.record(0, b"", 0) + wire.record(0, b"", 1), tables)


MESSAGES: dict[str, Callable[[int], bytes]] = {
    "nested lengths": nested_lengths,
    "groups 100 deep": lambda size: fill(size, b"\x2b" * 100 + b"\x2c" * 100, KEY + RECORD),
    "varints of ten bytes": lambda size: fill(size, b"\x28" + b"\xff" * 9 + b"\x01", KEY + RECORD),
    "empty keys": lambda size: fill(size, wire.content(1, b""), RECORD),
    "keys of one byte": lambda size: fill(size, wire.content(1, b"k"), RECORD),
    "keys of two bytes": lambda size: counted(
        size, lambda i: wire.content(1, bytes([97 + i % 26, 97 + i // 26 % 26])), RECORD
    ),
    "keys that are all different": lambda size: counted(
        size, lambda i: wire.content(1, bytes([i & 127, i >> 7 & 127, i >> 14])), RECORD
    ),
    "keys of two bytes, not UTF-8": lambda size: fill(size, wire.content(1, b"\xff\xfe"), RECORD),
    "empty hash keys": lambda size: fill(size, wire.content(2, b""), KEY + RECORD),
    "empty records": lambda size: fill(size, RECORD, KEY),
    "records of two bytes": lambda size: fill(size, wire.record(0, b"\x00\x01"), KEY),
    "records of padded indices": lambda size: fill(
        size, wire.content(3, b"\x08" + wire.varint(0, 9) + b"\x1a\x00"), KEY
    ),
    "records with a tag": lambda size: fill(size, wire.record(0, b"", None, wire.tag("")), KEY),
    "empty tags": lambda size: one_record(size, wire.tag("")),
    "tags of two bytes": lambda size: one_record(size, wire.tag("kk", "vv")),
    "fields of a record, again and again": lambda size: one_record(size, b"\x08\x00\x1a\x00"),
    "records refused at the end": lambda size: fill(size - 2, RECORD, KEY) + b"\x1a\x00",
    "an index out of range at the end": lambda size: fill(size - 8, RECORD, KEY) + wire.record(9, b""),
    "hash keys of zeros": distant_hash_keys,
    "a record of everything": lambda size: KEY + wire.record(0, bytes(size - 32)),
}

CALLS = {
    "deaggregate": "found = deaggregate(blob)",
    "deaggregate, hash_range": "found = deaggregate(blob, hash_range=(0, 2**128 - 1))",
    "iter_deaggregate": "for record in iter_deaggregate(blob): pass",
    "deaggregate_columns": "found = deaggregate_columns(blob)",
    "deaggregate_arrow": "found = deaggregate_arrow(blob)",
    "deaggregate_arrow, zero_copy": "found = deaggregate_arrow(blob, zero_copy=True)",
    "get_records, installed": """from shardpack.consume.client import _deaggregate_response
found = {"Records": [{"Data": blob, "PartitionKey": "k", "SequenceNumber": "1", "EncryptionType": "KMS"}]}
found["Records"][0]["ApproximateArrivalTimestamp"] = None
_deaggregate_response(found)""",
    "every field read": """found = deaggregate(blob)
for record in found: record.data, record.partition_key, record.explicit_hash_key, record.tags""",
    "every key of columns": "found = deaggregate_columns(blob); found.partition_keys, found.explicit_hash_keys",
}

# /proc knows what malloc took, too. The blob is read before and the first call made, so that neither is counted; memory
# that was let go in between is at hand again, less than 1 MiB of it.
MEASURE = """
import json, sys, time
from shardpack import deaggregate, deaggregate_arrow, deaggregate_columns, iter_deaggregate
from process_memory import memory

blob = b""
CALL
with open(sys.argv[1], "rb") as file:
    blob = file.read()
before, start = memory(), time.perf_counter()
CALL
seconds = time.perf_counter() - start
print(json.dumps([memory("VmHWM") - before, seconds]))
"""


class Cost(NamedTuple):
    ratio: float
    """Bytes of memory at the peak, the blob itself not counted, for each byte of blob."""
    seconds: float


def measure(message: str, call: str, size: int, directory: Path) -> Cost:
    path = directory / "blob"
    path.write_bytes(wire.frame(MESSAGES[message](size)))
    code = MEASURE.replace("CALL", CALLS[call])
    done = isolated.python("-c", code, str(path))
    assert done.returncode == 0, done.stderr[-2000:]
    memory, seconds = json.loads(done.stdout)
    return Cost(memory / path.stat().st_size, seconds)
