"""The limits of a stream, as the service documents them."""

from __future__ import annotations

import dataclasses

import pytest

from shardpack import Limits
from shardpack.limits import put_payload_units

MIB = 2**20


def test_the_defaults():
    limits = Limits()
    assert (limits.max_record_bytes, limits.max_request_bytes, limits.max_request_records) == (MIB, 5 * MIB, 500)


@pytest.mark.parametrize(
    "options",
    [
        {"max_record_bytes": 0},
        {"max_record_bytes": -1},
        {"max_record_bytes": 10 * MIB + 1, "max_request_bytes": 10 * MIB},
        {"max_request_bytes": 0},
        {"max_request_bytes": 10 * MIB + 1},
        {"max_request_records": 0},
        {"max_request_records": 501},
    ],
)
def test_limits_the_service_does_not_have(options):
    [name, *_] = options
    with pytest.raises(ValueError, match=name):
        Limits(**options)


@pytest.mark.parametrize("options", [{"max_request_bytes": MIB - 1}, {"max_record_bytes": 5 * MIB + 1}])
def test_a_record_has_to_fit_a_request(options):
    with pytest.raises(ValueError, match=r"max_request_bytes.*max_record_bytes"):
        Limits(**options)


@pytest.mark.parametrize(
    "options",
    [
        {"max_record_bytes": 1},
        {"max_record_bytes": MIB, "max_request_bytes": MIB},
        {"max_record_bytes": 10 * MIB, "max_request_bytes": 10 * MIB},
        {"max_request_records": 1},
    ],
)
def test_limits_at_their_ends(options):
    limits = Limits(**options)
    assert {name: getattr(limits, name) for name in options} == options


@pytest.mark.parametrize("value", [1e6, "1000000", None, b"x" * 10**6])
def test_limits_are_whole_numbers(value):
    for name in ("max_record_bytes", "max_request_bytes", "max_request_records"):
        with pytest.raises(TypeError, match=f"{name} is a whole number, not ") as raised:
            Limits(**{name: value})
        assert len(str(raised.value)) < 250


def test_a_limit_beyond_all_numbers():
    with pytest.raises(ValueError, match="max_record_bytes of a number of 16,610 bits is not between 1 and") as raised:
        Limits(max_record_bytes=10**5000)
    assert len(str(raised.value)) < 250


def test_what_a_request_is_filled_with():
    assert Limits().packed_request_bytes == 5 * MIB - 80 * 1024
    assert Limits(max_request_bytes=10 * MIB).packed_request_bytes == 10 * MIB - 160 * 1024


def test_limits_are_keyword_only_and_frozen():
    with pytest.raises(TypeError):
        Limits(5)
    with pytest.raises(dataclasses.FrozenInstanceError):
        Limits().max_record_bytes = 5
    assert Limits() == Limits()


@pytest.mark.parametrize(
    ("kib", "record", "request_"),
    [(None, MIB, 5 * MIB), (1024, MIB, 5 * MIB), (1025, 1025 * 1024, 10 * MIB), (10240, 10 * MIB, 10 * MIB)],
)
def test_limits_of_a_stream(kib, record, request_):
    summary = {"StreamName": "s"} if kib is None else {"StreamName": "s", "MaxRecordSizeInKiB": kib}
    for given in (summary, {"StreamDescriptionSummary": summary, "ResponseMetadata": {}}):
        limits = Limits.for_stream(given)
        assert (limits.max_record_bytes, limits.max_request_bytes) == (record, request_)
        assert limits.max_request_records == 500


@pytest.mark.parametrize(("size", "units"), [(0, 1), (1, 1), (25_600, 1), (25_601, 2), (51_200, 2), (MIB, 41)])
def test_put_payload_units(size, units):
    assert put_payload_units(size) == units


@pytest.mark.parametrize("summary", ["telemetry", None, 5])
def test_what_is_no_summary(summary):
    with pytest.raises(TypeError, match=r"client\.describe_stream_summary"):
        Limits.for_stream(summary)
