"""What a record costs its reader is linear in its size, whatever is in it."""

from __future__ import annotations

import isolated
import pytest
from costly_messages import CALLS, MESSAGES, measure
from protobuf_agreement import agree

MIB = 2**20

HIGHEST_RATIO = {
    "deaggregate": 18,  # a user record of 6 bytes: 24 in the index, 56 and a place in a list as an object
    "iter_deaggregate": 18,
    "deaggregate_columns": 12,  # a row is 24, and where the last one is refused the record is indexed as well
    "deaggregate, hash_range": 24,  # an empty key of 2 bytes: 8 in the table, 32 to hash it
    "deaggregate_arrow": 24,  # a key of 5 bytes: 24, 2 slots of 8, and 8, with room for twice as many
    "deaggregate_arrow, zero_copy": 24,
    "get_records, installed": 72,  # a user record of 6 bytes: the object, and a dictionary of 7 fields
    "every field read": 32,  # a tag of 4 bytes: 40, and its pair as Python objects
    "every key of columns": 30,  # a key of 4 bytes: 8 in the table, 8 in a list, the rest is Python's str
}


@pytest.mark.parametrize("message", MESSAGES)
def test_costly_messages_mean_what_protobuf_says(message):
    built = MESSAGES[message](4096)
    assert 4096 * 0.9 < len(built) <= 4096
    agree(built)


@pytest.mark.parametrize("message", MESSAGES)
@pytest.mark.parametrize("call", CALLS)
def test_memory_is_linear_in_the_blob(message, call, tmp_path):
    assert measure(message, call, MIB, tmp_path).ratio < HIGHEST_RATIO[call]


@pytest.mark.parametrize("keys", [2**14 - 1, 2**16 + 1, 2**18 + 1])
def test_keys_of_any_number_cost_alike(keys, tmp_path):
    """Just past the sizes to which the dictionary of keys grows."""
    assert measure("keys that are all different", "deaggregate_arrow", 5 * keys + 30, tmp_path).ratio < 28


def test_the_costliest_message_is_measured(tmp_path):
    """The measure sees what malloc took and freed again: digests and slices of half a million keys."""
    kept, in_between = (measure("empty keys", call, MIB, tmp_path).ratio for call in list(CALLS)[:2])
    assert kept > 4
    assert in_between > kept + 15


COST = """
from shardpack import deaggregate, deaggregate_columns
from process_memory import memory
from test_compressed_reading import compressed
from costly_messages import KEY, RECORD, fill
deaggregate(compressed(KEY + RECORD))
data = compressed(fill(16 << 20, RECORD, KEY))
before = memory("VmHWM")
found = {call}(data)
assert len(found) > 2 << 20
print((memory("VmHWM") - before) / len(data))
"""


@pytest.mark.parametrize(("call", "most"), [("deaggregate", 64 * 19), ("deaggregate_columns", 64 * 13)])
def test_what_is_let_through_costs_64_times_what_a_plain_one_of_its_size_does(call, most):
    """The costliest message there is, which is small when compressed: as small as it may be."""
    assert 64 * 5 < float(isolated.run(COST.format(call=call))) < most
