"""Google's protobuf as a second reader and writer of aggregated records."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import wire
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message
from grpc_tools import protoc

PROTO = Path(__file__).with_name("aggregated_record.proto")


@cache
def aggregated_record_class() -> Any:
    """Compile the format's own .proto."""
    with TemporaryDirectory() as directory:
        out = Path(directory, "set")
        assert protoc.main(["protoc", f"-I{PROTO.parent}", f"--descriptor_set_out={out}", PROTO.name]) == 0
        files = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("AggregatedRecord"))


def serialize(user_records: Iterable[tuple[str | bytes, bytes, int | str | None]]) -> bytes:
    """The aggregated record of (partition key, data, explicit hash key), its message written by protobuf."""
    message = aggregated_record_class()()
    keys: dict[str, int] = {}
    hash_keys: dict[str, int] = {}
    for key, data, explicit_hash_key in user_records:
        record = message.records.add()
        record.partition_key_index = keys.setdefault(wire.as_bytes(key).decode(), len(keys))
        if explicit_hash_key is not None:
            record.explicit_hash_key_index = hash_keys.setdefault(str(explicit_hash_key), len(hash_keys))
        record.data = data
    message.partition_key_table.extend(keys)
    message.explicit_hash_key_table.extend(hash_keys)
    encoded: bytes = message.SerializeToString()
    return b"\xf3\x89\x9a\xc2" + encoded + hashlib.md5(encoded).digest()


def parse(message: bytes) -> Message | None:
    """Read a message; ``None`` where protobuf refuses it or a required field is missing."""
    try:
        parsed: Message = aggregated_record_class().FromString(message)
    except DecodeError:
        return None
    return parsed if parsed.IsInitialized() else None


MALFORMED = "malformed"

UserRecordFields = tuple[str, str | None, bytes, tuple[tuple[str, str | None], ...]]


def user_records(message: bytes) -> list[UserRecordFields] | str | None:
    """What a message holds: key, explicit hash key, data, tags. ``None``: no message; ``MALFORMED``: bad references."""
    parsed: Any = parse(message)
    if parsed is None:
        return None
    keys, hash_keys = list(parsed.partition_key_table), list(parsed.explicit_hash_key_table)
    found = []
    for record in parsed.records:
        if record.partition_key_index >= len(keys):
            return MALFORMED
        hash_key = None
        if record.HasField("explicit_hash_key_index"):
            if record.explicit_hash_key_index >= len(hash_keys):
                return MALFORMED
            hash_key = hash_keys[record.explicit_hash_key_index]
            if isinstance(hash_key, bytes) or not (hash_key.isascii() and hash_key.isdigit()):
                return MALFORMED
            if int(hash_key) >= 2**128:
                return MALFORMED
        tags = tuple((_text(tag.key), _text(tag.value) if tag.HasField("value") else None) for tag in record.tags)
        found.append((_text(keys[record.partition_key_index]), hash_key, record.data, tags))
    return found


def _text(value: str | bytes) -> str:
    """Decode as we promise to: protobuf gives bytes for a string that is not UTF-8."""
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value
