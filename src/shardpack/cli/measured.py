"""What comes for which key, from a stream's last seconds or from a file: a sample to plan by."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from typing import Any

from ..errors import InvalidRecordError
from ..keys import calculated
from ..limits import MAX_RECORD_BYTES
from ..plan.sample import Sample
from .ndjson import Events, KeyFields, Lines
from .outcome import BadInputError
from .put_rows import BadRowError, ParquetRows
from .source import Source

WAIT_SECONDS = 1.0
NO_VALUE = "-"
"""The key of what has no value in another field."""


def sample_of_stream(client: Any, stream: str, seconds: float) -> Sample:
    """Read what came into every shard in the last ``seconds``."""
    from ..consume.stream.reader import StreamReader  # noqa: PLC0415 (loads botocore, which help does without)

    sample = Sample()
    until = datetime.now(timezone.utc)
    since = until - timedelta(seconds=seconds)
    with StreamReader(stream, client=client, start=since, until=until, range_rule=False) as batches:
        for batch in batches:
            records = [
                record
                for record in batch.records
                if (arrived := record.approximate_arrival_timestamp) is None or since <= arrived <= until
            ]
            sample.add_many(
                [record.partition_key for record in records],
                [record.data for record in records],
                [record.explicit_hash_key for record in records],
            )
    return sample


def sample_of_lines(file: str, fields: KeyFields) -> Sample:
    """Read lines of JSON, each a user record. Raises ``BadInputError`` for one that is none."""
    return samples_of_lines(file, fields, ())[0]


def samples_of_lines(file: str, fields: KeyFields, others: Iterable[str]) -> tuple[Sample, dict[str, Sample]]:
    """Do so, and by other fields as well: one, or several with commas between, of which ``calculated`` makes a key."""
    source = Source(file)
    sample, by_others = Sample(), {names: Sample(keep_records=False) for names in others}
    fields_of_others = {names: [KeyFields(name, NO_VALUE) for name in names.split(",")] for names in by_others}
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
                for names, other in by_others.items():
                    found = [
                        [each.of(0, data)[0] or NO_VALUE for data in events.datas] for each in fields_of_others[names]
                    ]
                    keys = found[0] if len(found) == 1 else [calculated(*parts) for parts in zip(*found, strict=True)]
                    other.add_many(keys, events.datas)
            except InvalidRecordError as error:
                raise BadInputError(f"{source.name}: {error}") from None
    finally:
        source.close()
    return sample, by_others


def sample_of_rows(file: str, fields: KeyFields) -> Sample:
    """Read the rows of a Parquet file, each an object of JSON. Raises ``BadInputError`` for what cannot be read."""
    rows, sample = ParquetRows(file, fields, [], None), Sample()
    at = rows.columns
    try:
        for _, batch in rows.batches(0):
            found = rows.user_records(batch)
            datas = [data.encode() if isinstance(data, str) else data for data in found.column(at["data"]).to_pylist()]
            keys = [None] * len(datas) if at["key"] is None else found.column(at["key"]).to_pylist()
            sample.add_many(keys, datas)
    except (InvalidRecordError, BadRowError) as error:
        raise BadInputError(f"{file}: {error}") from None
    finally:
        rows.close()
    return sample
