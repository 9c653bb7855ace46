"""atheris target: deaggregate, deaggregate_columns and iter_deaggregate, held against Python's protobuf (upb).

The input is the message; the frame is put around it here. Runs on extensions built with edge counters and sanitizers,
so that C and Cython code guides the mutations: see run.py.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import wire
from protobuf_agreement import agree

from shardpack import deaggregate, deaggregate_columns, iter_deaggregate


def fields(record):
    return record.partition_key, record.explicit_hash_key, record.data, record.sub_sequence_number


def rows(columns):
    """The rows of columns, as the fields of user records."""
    keys, hash_keys, data = [*columns.partition_keys, None], [*columns.explicit_hash_keys, None], columns.data.tobytes()
    return [
        (
            keys[columns.partition_key_indices[i]],
            hash_keys[columns.explicit_hash_key_indices[i]],
            data[columns.offsets[i] : columns.offsets[i + 1]],
            columns.sub_sequence_numbers[i],
        )
        for i in range(len(columns))
    ]


LOWER_HALF = 0, 2**127 - 1


def in_lower_half(record):
    key = record.partition_key.encode("utf-8", "surrogateescape")
    return wire.hash_key(key, record.explicit_hash_key) <= LOWER_HALF[1]


def test_one_input(message):
    """Demand what holds for every message: protobuf agrees, and the three calls agree with one another."""
    if not message:
        return
    agree(message)
    blob = wire.frame(message)
    found, columns = deaggregate(blob), deaggregate_columns(blob)
    assert list(iter_deaggregate(blob)) == found
    assert rows(columns) == [fields(record) for record in found]
    assert columns.aggregated == [not found or found[0].aggregated]
    assert str(columns.errors[0]) == (str(found[0].error) if found else "None")
    if not found or found[0].aggregated:
        expected = found if all(map(in_lower_half, found)) else []
        assert deaggregate(blob, hash_range=LOWER_HALF) == expected
    found = deaggregate(message)  # with a frame of its own, or most often none
    assert all(record.aggregated for record in found) or (len(found) == 1 and found[0].data == message)


if __name__ == "__main__":
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()
