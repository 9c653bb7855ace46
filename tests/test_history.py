"""Whether a stream holds what its producers were told: every defect planted, and found."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from isolated import run

from shardpack import Aggregator, Boto3Transport, ShardMap, deaggregate, pack
from shardpack.testing import FaultProxy, history
from shardpack.testing.faults import Reset, Script
from shardpack.testing.history import (
    NOT_STORED,
    UNKNOWN,
    Position,
    Put,
    ShardContents,
    StoredRecord,
    check,
    read_all,
)
from shardpack.testing.local_kinesis import wait_until_active


@dataclass
class Stream:
    """A stream by the rules: what is put is appended to the open shard that holds its key."""

    chance: Random
    puts: list[Put] = field(default_factory=list)
    shards: dict[str, list[StoredRecord]] = field(default_factory=lambda: {"s0": []})
    parents: dict[str, tuple[str, ...]] = field(default_factory=lambda: {"s0": ()})
    open: list[str] = field(default_factory=lambda: ["s0"])
    """In the order of the keys that they hold: key ``k`` of 64 is in the one at ``k * len(open) // 64``."""
    unanswered: set[tuple[str, str]] = field(default_factory=set)
    sequence_number: int = 0

    def put(self, key: int, fate: str) -> None:
        put = Put(f"key-{key}", f"data-{len(self.puts)}".encode())
        self.puts.append(put)
        if fate == "stored":
            put.outcome = self.append(put)
        elif fate == "refused":
            put.outcome = NOT_STORED
        elif fate == "unknown":
            put.outcome = UNKNOWN
            if self.chance.random() < 0.5:
                self.append(put)
        elif fate == "resent":
            for _ in range(self.chance.randint(1, 3)):
                self.append(put, lost=True)
            put.outcome = self.append(put)
        elif fate == "resent to children":
            self.append(put)
            self.split(self.shard_of(put))
            put.outcome = self.append(put)

    def shard_of(self, put: Put) -> int:
        return int(put.partition_key.removeprefix("key-")) * len(self.open) // 64

    def append(self, put: Put, *, lost: bool = False) -> Position:
        shard_id = self.open[self.shard_of(put)]
        records = self.shards[shard_id]
        last = records[-1] if records else None
        if last and not lost and self.chance.random() < 0.5 and (shard_id, last.sequence_number) not in self.unanswered:
            record = StoredRecord(put.partition_key, put.data, last.sequence_number, last.sub_sequence_number + 1)
        else:
            self.sequence_number += self.chance.randint(1, 10**20)
            record = StoredRecord(put.partition_key, put.data, str(self.sequence_number))
        records.append(record)
        if lost:
            self.unanswered.add((shard_id, record.sequence_number))
        return Position(shard_id, *record[2:])

    def split(self, at: int) -> None:
        """Every open shard is split, so that they hold equal parts of the keys; ``at`` for the one that matters."""
        assert at < len(self.open)
        if len(self.open) == 64:
            return
        children = []
        for parent in self.open:
            for _ in range(2):
                child = f"s{len(self.shards)}"
                self.shards[child], self.parents[child] = [], (parent,)
                children.append(child)
        self.open = children

    def merge(self) -> None:
        if len(self.open) == 1:
            return
        children = []
        for pair in zip(self.open[::2], self.open[1::2], strict=True):
            child = f"s{len(self.shards)}"
            self.shards[child], self.parents[child] = [], pair
            children.append(child)
        self.open = children

    def contents(self) -> list[ShardContents]:
        contents = [
            ShardContents(shard_id, records, self.parents[shard_id]) for shard_id, records in self.shards.items()
        ]
        self.chance.shuffle(contents)
        return contents

    def check(self, **options: bool) -> history.Report:
        return check(self.puts, self.contents(), unanswered=self.unanswered, **options)


FATES = ("stored", "stored", "stored", "refused", "unknown", "resent", "resent to children")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.integers(0, 63), st.sampled_from(FATES)),
        st.tuples(st.integers(0, 3), st.sampled_from(FATES)),
        st.sampled_from(["split", "merge"]),
    ),
    max_size=60,
)


def stream_of(steps: list[tuple[int, str] | str], seed: int = 0) -> Stream:
    stream = Stream(Random(seed))
    for step in steps:
        if step == "split":
            stream.split(0)
        elif step == "merge":
            stream.merge()
        elif step[1] == "resent to children" and len(stream.open) == 64:
            stream.put(step[0], "stored")
        else:
            stream.put(*step)
    return stream


def simple() -> Stream:
    """Ten user records of two keys, all stored, one shard."""
    return stream_of([(i % 2, "stored") for i in range(10)])


# --- histories that are right ---


@given(steps=STEPS, seed=st.integers(0, 2**32))
def test_a_right_history_holds(steps, seed):
    stream = stream_of(steps, seed)
    report = stream.check()
    assert report.defects == {}, str(report)
    assert report.holds
    assert report.examples == {}
    assert report.puts == len(stream.puts)
    assert report.found == sum(map(len, stream.shards.values()))
    assert report.unknown == sum(put.outcome == UNKNOWN for put in stream.puts)
    distinct = {record.data for records in stream.shards.values() for record in records}
    assert report.duplicates == report.found - len(distinct)
    assert report.excused_by_lost_answer + report.excused_by_resharding == report.duplicates
    assert str(report).startswith("Everything fits: ")


def test_nothing_fits_nothing():
    assert str(check([], [])) == "Everything fits: 0 user records put, 0 found."


def test_what_is_excused_is_told():
    stream = stream_of([(0, "resent"), (0, "resent to children"), (0, "unknown")])
    stream.contents()[0].left_out = 7
    report = check(
        stream.puts, [replace(shard, left_out=1) for shard in stream.contents()], unanswered=stream.unanswered
    )
    assert report.left_out == 3
    assert report.excused_by_resharding == 1
    assert report.excused_by_lost_answer >= 1
    assert "3 outside the hash range of their shard" in str(report)
    assert f"({report.excused_by_lost_answer} of a lost answer, 1 of resharding)" in str(report)
    assert "1 of unknown outcome" in str(report)


# --- defects ---


def lose(stream: Stream) -> None:
    del stream.shards["s0"][4]


def swap(stream: Stream) -> None:
    records = stream.shards["s0"]
    a, b = records[2], records[4]  # of one key
    records[2], records[4] = a._replace(data=b.data), b._replace(data=a.data)
    at = {record.data: Position("s0", *record[2:]) for record in records}
    for put in stream.puts:
        put.outcome = at[put.data]


def duplicate(stream: Stream) -> None:
    stream.append(stream.puts[3])


def duplicate_within(stream: Stream) -> None:
    last = stream.shards["s0"][-1]
    stream.shards["s0"].append(last._replace(sub_sequence_number=last.sub_sequence_number + 1))
    stream.unanswered.add(("s0", last.sequence_number))


def alias(stream: Stream) -> None:
    stream.shards["s0"][4] = stream.shards["s0"][4]._replace(partition_key="key-63")


def deny(stream: Stream) -> None:
    stream.puts[5].outcome = NOT_STORED


def misplace(**changed: object):
    def misplaced(stream: Stream) -> None:
        stream.puts[5].outcome = stream.puts[5].outcome._replace(**changed)

    return misplaced


def invent(stream: Stream) -> None:
    stream.append(Put("key-1", b"of nobody"))


def forget(stream: Stream) -> None:
    stream.puts[5].outcome = None


DEFECTS = {
    "lost": (lose, "lost", "data b'data-4' was reported at s0 "),
    "swapped": (swap, "out_of_order", "data b'data-2' comes after b'data-4', which was put later"),
    "twice": (duplicate, "duplicated", "data b'data-3' is there 2 times: s0 "),
    "twice in one": (duplicate_within, "duplicated", "data b'data-9' is there 2 times: s0 "),
    "aliased": (alias, "aliased", "key 'key-0', data b'data-4' is under 'key-63'"),
    "denied": (deny, "denied", "key 'key-1', data b'data-5' is at s0 "),
    "other shard": (misplace(shard_id="s9"), "misplaced", ", and was reported at s9 "),
    "other sequence": (misplace(sequence_number="7"), "misplaced", ", and was reported at s0 7/"),
    "other sub-sequence": (misplace(sub_sequence_number=77), "misplaced", "/77"),
    "invented": (invent, "invented", "key 'key-1', data b'of nobody' at s0 "),
    "forgotten": (forget, "unsettled", "key 'key-1', data b'data-5'"),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defect_is_found_and_told(defect):
    plant, name, words = DEFECTS[defect]
    stream = simple()
    plant(stream)
    report = stream.check()
    assert report.defects == {name: 1}
    assert not report.holds
    [example] = report.examples[name]
    assert words in example
    assert str(report).splitlines()[0].startswith("Of 10 user records put, ")
    assert example in str(report)


@given(steps=STEPS, seed=st.integers(0, 2**32), defect=st.sampled_from(sorted(DEFECTS)))
def test_a_defect_is_found_in_any_history(steps, seed, defect):
    """A small history with the defect beside any right one, of other keys and in another shard."""
    plant, name, _ = DEFECTS[defect]
    planted = simple()
    plant(planted)
    stream = stream_of(steps, seed)
    before = stream.check()
    for put in planted.puts:
        put.data = b"planted " + put.data
        put.partition_key = f"planted {put.partition_key}"
        if isinstance(put.outcome, Position):
            put.outcome = put.outcome._replace(shard_id=f"planted {put.outcome.shard_id}")
    records = [
        record._replace(data=b"planted " + record.data, partition_key=f"planted {record.partition_key}")
        for record in planted.shards["s0"]
    ]
    shards = [*stream.contents(), ShardContents("planted s0", records)]
    unanswered = stream.unanswered | {(f"planted {shard_id}", number) for shard_id, number in planted.unanswered}
    report = check([*stream.puts, *planted.puts], shards, unanswered=unanswered)
    assert report.defects == {name: 1}
    assert report.excused_by_lost_answer == before.excused_by_lost_answer


@given(steps=STEPS, seed=st.integers(0, 2**32), at=st.integers(0, 10**6))
def test_any_mutation_is_found(steps, seed, at):
    stream = stream_of(steps, seed)
    settled = [put for put in stream.puts if isinstance(put.outcome, Position)]
    if not settled:
        return
    put = settled[at % len(settled)]
    copies = [
        (shard_id, record)
        for shard_id in stream.shards
        for record in stream.shards[shard_id]
        if record.data == put.data
    ]
    kind = at % 3
    if kind == 0:  # every copy is gone
        for shard_id, record in copies:
            stream.shards[shard_id].remove(record)
        expected = {"lost": 1}
    elif kind == 1:  # the one that was reported
        shard_id, record = next((s, r) for s, r in copies if Position(s, *r[2:]) == put.outcome)
        stream.shards[shard_id].remove(record)
        expected = {"lost": 1} if len(copies) == 1 else {"misplaced": 1}
    else:
        put.outcome = NOT_STORED
        expected = {"denied": 1}
    assert stream.check().defects.items() >= expected.items()


def test_order_is_that_of_first_copies():
    stream = simple()
    stream.put(0, "resent")
    stream.put(0, "stored")
    stream.unanswered.add(("s0", stream.append(stream.puts[0]).sequence_number))  # a late copy of the first
    assert stream.check().holds


def test_order_holds_from_parents_to_children():
    stream = simple()
    stream.split(0)
    stream.put(1, "stored")
    assert stream.check().holds
    late = stream.shards["s0"].pop(1)
    stream.sequence_number += 1
    stream.shards[stream.open[0]].append(
        late._replace(sequence_number=str(stream.sequence_number), sub_sequence_number=0)
    )
    stream.puts[1].outcome = Position(stream.open[0], str(stream.sequence_number))
    assert stream.check().defects == {"out_of_order": 1}


def test_keys_with_several_explicit_hash_keys_have_an_order_for_each():
    puts = [Put("k", b"1", Position("b", "1"), 9), Put("k", b"2", Position("a", "2"), "5"), Put("k", b"3", UNKNOWN, 5)]
    low, high = StoredRecord("k", b"2", "2"), StoredRecord("k", b"1", "1")
    assert check(puts, [ShardContents("a", [low]), ShardContents("b", [high])]).holds
    shards = [ShardContents("a", [StoredRecord("k", b"3", "1"), low]), ShardContents("b", [high])]
    assert check(puts, shards).defects == {"out_of_order": 1}


def test_copies_are_excused_one_for_each_reason():
    put = Put("k", b"1", Position("a", "1"))
    copies = [StoredRecord("k", b"1", str(number)) for number in range(1, 6)]
    assert check([put], [ShardContents("a", copies)]).duplicated == 4
    report = check([put], [ShardContents("a", copies)], unanswered=[("a", "2"), ("a", "3"), ("b", "4")])
    assert (report.duplicates, report.excused_by_lost_answer, report.duplicated) == (4, 2, 2)
    shards = [
        ShardContents("a", copies[:2]),
        ShardContents("b", copies[2:3], ("a",)),
        ShardContents("c", copies[3:4], ("a",)),
    ]
    report = check([put], shards)
    assert (report.duplicates, report.excused_by_resharding, report.duplicated) == (3, 2, 1)
    unrelated = [ShardContents("a", copies[:2]), ShardContents("b", copies[2:])]
    assert check([put], unrelated).duplicated == 4
    child, grandchild = ShardContents("b", copies[1:2], ("a",)), ShardContents("c", copies[2:3], ("b", "x"))
    assert check([put], [ShardContents("a", copies[:1]), child, grandchild]).excused_by_resharding == 2


# a was split into b and c, c into d and e; b and d were merged into f, which was split into g and h
LINEAGE = {"a": (), "b": ("a",), "c": ("a",), "d": ("c",), "e": ("c",), "f": ("b", "d"), "g": ("f",), "h": ("f",)}


@pytest.mark.parametrize(
    ("places", "excused"),
    [
        ("ad", 1),  # two reshardings lie between
        ("ag", 1),
        ("cf", 1),
        ("cg", 1),
        ("bc", 1),
        ("de", 1),
        ("dg", 1),
        ("gh", 1),
        ("abc", 2),
        ("acg", 2),
        ("bcg", 2),
        ("bd", 0),  # co-parents are no kin, nor are nephews
        ("be", 0),
        ("eg", 0),
        ("xg", 0),
        ("axg", 1),
        ("aag", 1),
    ],
)
def test_copies_in_descendants_are_excused(places, excused):
    put, other = Put("k", b"1", UNKNOWN), ShardContents("x", [])
    shards = [other, *(ShardContents(shard_id, [], parents) for shard_id, parents in LINEAGE.items())]
    for number, place in enumerate(places):
        shard = next(shard for shard in shards if shard.shard_id == place)
        shard.records = [*shard.records, StoredRecord("k", b"1", str(number))]
    report = check([put], reversed(shards))
    assert (report.duplicates, report.excused_by_resharding) == (len(places) - 1, excused)


def test_a_killed_producer_may_leave_puts_without_outcome():
    stream = simple()
    forget(stream)
    report = stream.check(killed=True)
    assert report.holds
    assert report.unsettled == 1
    assert "1 without an outcome" in str(report)


def test_examples_are_few_and_short():
    puts = [Put("k" * 256, b"%d" % i * 1_000_000, Position("s", "1")) for i in range(100, 120)]
    report = check(puts, [])
    assert report.defects == {"lost": 20}
    assert len(report.examples["lost"]) == history.MOST_EXAMPLES
    assert len(str(report)) < 2000


# --- what is no history ---


@pytest.mark.parametrize(
    ("puts", "shards", "message"),
    [
        ([Put("a", b"x"), Put("b", b"y"), Put("b", b"x")], [], "puts 0 and 2 have the same data, b'x'"),
        ([], [ShardContents("s", []), ShardContents("s", [])], "a shard is given twice"),
        ([], [ShardContents("a", [], ("b",)), ShardContents("b", [], ("a", "gone"))], "a is its own ancestor"),
        (
            [],
            [ShardContents("s", [StoredRecord("k", b"a", "10"), StoredRecord("k", b"b", "9")])],
            "s: sequence number 9 comes after 10",
        ),
        (
            [],
            [ShardContents("s", [StoredRecord("k", b"a", "10", 1), StoredRecord("k", b"b", "10", 1)])],
            "s: sub-sequence number 1 of 10 comes after 1",
        ),
    ],
)
def test_what_is_no_history_is_refused(puts, shards, message):
    with pytest.raises(ValueError, match=message):
        check(puts, shards)


def test_an_outcome_is_one_of_those_that_there_are():
    with pytest.raises(TypeError, match="an outcome is a Position, NOT_STORED, UNKNOWN or None, not 'stored'"):
        check([Put("k", b"x", "stored")], [ShardContents("s", [StoredRecord("k", b"x", "1")])])


def test_it_needs_no_boto3():
    code = """
import sys
from shardpack.testing import history
assert history.check([], []).holds
import shardpack.testing
assert shardpack.testing.history is history
assert not {"boto3", "botocore", "asyncio"} & sys.modules.keys()
"""
    run(code)


# --- real streams ---


def test_a_real_stream_is_read_and_judged(local_kinesis):
    """Aggregated and raw, through a lost answer, a split and a merge; one aggregate in a shard that is not its own."""
    stream, direct = "history", local_kinesis.client()
    local_kinesis.create_stream(stream, 2)
    puts: list[Put] = []
    with FaultProxy(local_kinesis.endpoint_url, seed=1) as proxy:
        transport = Boto3Transport(proxy.client(), stream)

        def put_all(name: str) -> None:
            aggregator = Aggregator(transport.list_shards(), max_records=7)
            new = [Put(f"key-{i % 20}", f"{name} {i}".encode()) for i in range(100)]
            puts.extend(new)
            for put in new:
                aggregator.add(put.partition_key, put.data)
            by_data = {put.data: put for put in new}
            for request in pack(aggregator.flush(), max_entries_per_shard=1):
                send(request, by_data)

        def send(request, by_data) -> None:
            try:
                outcomes = transport.put_records(request)
            except Exception:  # noqa: BLE001 - the reset
                outcomes = transport.put_records(request)
            for record, stored in zip(request, outcomes, strict=True):
                for user_record in deaggregate(record.data if record.user_record_count > 1 else [record.to_boto3()]):
                    put = by_data[user_record.data]
                    put.outcome = Position(stored.shard_id, stored.sequence_number, user_record.sub_sequence_number)

        put_all("before")
        proxy.faults = [Script("PutRecords", [None, Reset("after"), None, Reset()])]
        put_all("resets")
        shards = list(transport.list_shards())
        direct.split_shard(StreamName=stream, ShardToSplit=shards[0].shard_id, NewStartingHashKey=str(2**126))
        wait_until_active(direct, stream)
        put_all("split")
        shards = list(transport.list_shards())
        direct.merge_shards(StreamName=stream, ShardToMerge=shards[1].shard_id, AdjacentShardToMerge=shards[2].shard_id)
        wait_until_active(direct, stream)
        put_all("merged")
        unanswered = proxy.unanswered(stream)
    for kcl_rule in (False, True):
        contents = read_all(direct, stream, kcl_rule=kcl_rule)
        assert [len(shard.parents) for shard in contents] == [0, 0, 1, 1, 2]
        report = check(puts, contents, unanswered=unanswered)
        assert report.holds, str(report)
        assert report.puts == 400
        assert report.excused_by_lost_answer == report.duplicates == report.found - 400 > 0
        assert report.left_out == 0
    assert check(puts, contents).defects == {"duplicated": report.duplicates}
    stray = Aggregator(ShardMap.uniform(1))
    for put in puts[300:320]:
        stray.add(put.partition_key, put.data)
    [record] = stray.flush()
    direct.put_records(StreamName=stream, Records=[record.to_boto3()])
    assert check(puts, read_all(direct, stream), unanswered=unanswered).defects == {"duplicated": 20}
    report = check(puts, read_all(direct, stream, kcl_rule=True), unanswered=unanswered)
    assert report.holds
    assert report.left_out == 20
