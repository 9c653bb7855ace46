"""What comes for which key, from a stream's last seconds or from a file: a sample to plan by."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from ..errors import InvalidRecordError
from ..limits import MAX_RECORD_BYTES
from ..plan.sample import Sample
from .ndjson import Events, KeyFields, Lines
from .outcome import BadInputError
from .source import Source

WAIT_SECONDS = 1.0


def sample_of_stream(client: Any, stream: str, seconds: float) -> Sample:
    """Read what came into every shard in the last ``seconds``, until each is caught up."""
    from ..consume.stream.reader import read_stream  # noqa: PLC0415 (loads botocore, which help does without)

    sample = Sample()
    since = datetime.now(timezone.utc) - timedelta(seconds=seconds)
    for read in read_stream(client, stream, since, follow=False):
        records = read.reply.user_records()
        sample.add_many(
            [record.partition_key for record in records],
            [record.data for record in records],
            [record.explicit_hash_key for record in records],
        )
    return sample


def sample_of_lines(file: str, fields: KeyFields) -> Sample:
    """Read lines of JSON, each a user record. Raises ``BadInputError`` for one that is none."""
    sample, source = Sample(), Source(file)
    try:
        lines = Lines(MAX_RECORD_BYTES)
        chunk: bytes | None = None
        while chunk != b"":
            chunk = source.read(WAIT_SECONDS)
            if chunk is None:
                continue
            events = Events()
            events.take(iter(lines.feed(chunk) if chunk else lines.finish()), fields)
            lines.check()
            try:
                sample.add_many(events.keys, events.datas, events.explicit_hash_keys)
            except InvalidRecordError as error:
                raise BadInputError(f"{source.name}: {error}") from None
    finally:
        source.close()
    return sample
