"""The forms in which Kinesis records reach consumers, each turned into ReceivedRecord.

A shape is recognised by its fields, not by its type. To teach ``deaggregate`` another one, add it here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .._deaggregate import ReceivedRecord

EXPECTED = (
    "expected a GetRecords response, its Records, one such record (with Data, PartitionKey and SequenceNumber), "
    "raw bytes, or an iterable of records or bytes"
)


def received_records(records: Any) -> Iterator[ReceivedRecord]:
    """Yield every Kinesis record in ``records``. Raises ``TypeError`` for a shape that is not known."""
    if isinstance(records, (bytes, bytearray, memoryview)):
        yield ReceivedRecord(records)
    elif isinstance(records, Mapping) and "Records" in records:
        yield from map(_received, records["Records"])
    elif isinstance(records, Mapping):
        yield _received(records)
    elif isinstance(records, Iterable) and not isinstance(records, str):
        yield from map(_received, records)
    else:
        raise TypeError(f"cannot deaggregate {type(records).__name__}: {EXPECTED}")


def _received(record: Any) -> ReceivedRecord:
    if isinstance(record, (bytes, bytearray, memoryview)):
        return ReceivedRecord(record)
    if isinstance(record, Mapping) and "Data" in record:
        data = record["Data"]
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"Data of a GetRecords record is bytes, not {type(data).__name__}: {EXPECTED}")
        return ReceivedRecord(
            data,
            record.get("PartitionKey"),
            record.get("SequenceNumber"),
            record.get("ApproximateArrivalTimestamp"),
            record,
        )
    what = f"a mapping with {sorted(map(str, record))}" if isinstance(record, Mapping) else type(record).__name__
    raise TypeError(f"cannot deaggregate {what}: {EXPECTED}")
