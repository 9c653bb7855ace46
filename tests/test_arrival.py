"""When records arrived: whatever an event, a test event or a file of records says, it is a time or nothing."""

from __future__ import annotations

import math
import pickle
import threading
import time
from datetime import date, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardpack import deaggregate, deaggregate_arrow, deaggregate_columns

ARRIVED = datetime(2022, 12, 20, 18, 54, 58, 449_000, tzinfo=timezone.utc)
WHOLE = ARRIVED.replace(microsecond=0)
EAST = timezone(timedelta(hours=5, minutes=30))

TIMES = {
    "seconds": (1671562498.449, ARRIVED),
    "whole seconds": (1671562498, WHOLE),
    "milliseconds": (1671562498449, ARRIVED),
    "milliseconds as a float": (1671562498449.0, ARRIVED),
    "Decimal seconds, as DynamoDB gives them": (Decimal("1671562498.449"), ARRIVED),
    "Decimal milliseconds": (Decimal(1671562498449), ARRIVED),
    "a fraction": (Fraction(1671562498449, 1000), ARRIVED),
    "numpy's int": (np.int64(1671562498449), ARRIVED),
    "numpy's float": (np.float64(1671562498.449), ARRIVED),
    "text of seconds": ("1671562498.449", ARRIVED),
    "text of milliseconds": ("1671562498449", ARRIVED),
    "ISO text": ("2022-12-20T18:54:58.449Z", ARRIVED),
    "ISO text, a small z": ("2022-12-20t18:54:58.449z", ARRIVED),
    "ISO text with an offset": ("2022-12-21T00:24:58.449+05:30", ARRIVED),
    "ISO text, whole": ("2022-12-20T18:54:58Z", WHOLE),
    "ISO text, tenths": ("2022-12-20T18:54:58.4Z", WHOLE.replace(microsecond=400_000)),
    "ISO text, nanoseconds": ("2022-12-20T18:54:58.449000999Z", ARRIVED),
    "text of a datetime": (str(ARRIVED), ARRIVED),
    "datetime": (ARRIVED, ARRIVED),
    "datetime of another zone": (ARRIVED.astimezone(EAST), ARRIVED),
    "the last second": (99_999_999_999, datetime(5138, 11, 16, 9, 46, 39, tzinfo=timezone.utc)),
    "the first millisecond": (100_000_000_000, datetime(1973, 3, 3, 9, 46, 40, tzinfo=timezone.utc)),
    "before 1970": (-1, datetime(1969, 12, 31, 23, 59, 59, tzinfo=timezone.utc)),
    "nothing since 1970": (0, datetime(1970, 1, 1, tzinfo=timezone.utc)),
}


class NoZone(tzinfo):
    def utcoffset(self, _):
        raise RuntimeError


NOT_TIMES = {
    "None": None,
    "NaN": math.nan,
    "infinity": math.inf,
    "Decimal NaN": Decimal("NaN"),
    "signalling NaN": Decimal("sNaN"),
    "too large": 1e300,
    "too large for a float": 10**5000,
    "beyond the last year": 10**15,
    "a flag": True,
    "no text": "",
    "no time": "yesterday",
    "text of NaN": "nan",
    "half a time": "2022-12-20T18:",
    "long text": "9" * 100_000,
    "a date": date(2022, 12, 20),
    "a list": [1671562498],
    "a mapping": {"seconds": 1671562498},
    "bytes": b"2022-12-20T18:54:58Z",
    "an object": object(),
    "a zone that is broken": datetime(2022, 12, 20, tzinfo=NoZone()),
}


def lambda_record(arrived):
    return {
        "kinesis": {"partitionKey": "k", "sequenceNumber": "4", "data": "cmF3", "approximateArrivalTimestamp": arrived}
    }


SHAPES = {
    "GetRecords": lambda arrived: {"Data": b"raw", "PartitionKey": "k", "ApproximateArrivalTimestamp": arrived},
    "Lambda": lambda_record,
    "Pipes": lambda arrived: lambda_record(arrived)["kinesis"],
    "Firehose": lambda arrived: {
        "recordId": "1",
        "data": "cmF3",
        "kinesisRecordMetadata": {"approximateArrivalTimestamp": arrived, "sequenceNumber": "4"},
    },
    "Firehose, put directly": lambda arrived: {"recordId": "1", "data": "cmF3", "approximateArrivalTimestamp": arrived},
}


def check(make, arrived, expected):
    [record] = deaggregate(make(arrived))
    found = record.approximate_arrival_timestamp
    assert found == expected
    assert found is None or (type(found) is datetime and found.utcoffset() is not None)
    assert record.approximate_arrival_timestamp is found
    assert deaggregate_columns([make(arrived)]).approximate_arrival_timestamps == [expected]
    table = pa.table(deaggregate_arrow([make(arrived)]))
    assert table["approximate_arrival_timestamp"].to_pylist() == [expected]


@pytest.mark.parametrize("make", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize(("arrived", "expected"), TIMES.values(), ids=TIMES.keys())
def test_what_tells_a_time(make, arrived, expected):
    check(make, arrived, expected)
    record = deaggregate(make(arrived))[0]
    assert record == deaggregate(make(arrived))[0]
    assert pickle.loads(pickle.dumps(record)) == record  # noqa: S301


@pytest.mark.parametrize("make", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("arrived", NOT_TIMES.values(), ids=NOT_TIMES.keys())
def test_what_tells_none(make, arrived):
    check(make, arrived, None)


def test_a_time_without_a_zone_is_local(monkeypatch):
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        expected = datetime(2022, 12, 20, 23, 54, 58, tzinfo=timezone.utc)
        for arrived in (datetime(2022, 12, 20, 18, 54, 58), "2022-12-20 18:54:58"):  # noqa: DTZ001
            for make in SHAPES.values():
                check(make, arrived, expected)
        for arrived in (datetime.min, datetime.max):  # noqa: DTZ901 - their local time may be of no year
            check(lambda_record, arrived, deaggregate(lambda_record(arrived))[0].approximate_arrival_timestamp)
    finally:
        monkeypatch.undo()
        time.tzset()


@given(st.one_of(st.integers(), st.floats(), st.decimals(), st.text(), st.datetimes(), st.binary(), st.none()))
def test_nothing_is_raised(arrived):
    [record] = deaggregate(lambda_record(arrived))
    moment = record.approximate_arrival_timestamp
    assert moment is None or moment.utcoffset() is not None
    assert len(pa.table(deaggregate_arrow(lambda_record(arrived)))) == 1


def test_threads_see_a_whole_time():
    """Whoever asks first: nobody sees a number, or half of the way from it."""
    for _ in range(50):
        records = deaggregate([lambda_record("2022-12-20T18:54:58.449Z") for _ in range(20)])
        found, barrier = [], threading.Barrier(4)

        def ask(records=records, found=found, barrier=barrier):
            barrier.wait()
            found.extend(record.approximate_arrival_timestamp for record in records)

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [ARRIVED] * 80
