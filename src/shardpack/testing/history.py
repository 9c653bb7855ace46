"""Does what a stream holds fit what its producers were told? A checker in the manner of Jepsen's of queues.

A test keeps a ``Put`` for every user record, in the order in which it put them, and gives it the outcome that was
reported. ``read_all`` reads what the stream holds then, and ``check`` compares the two.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

from ..errors import abridged
from ..transport.list_shards import list_all_shards

__all__ = ["Position", "Put", "Record", "Report", "ShardContents", "StoredRecord", "check", "read_all"]

MOST_EXAMPLES = 5
"""Of each defect."""


class Position(NamedTuple):
    """Where a user record is stored."""

    shard_id: str
    sequence_number: str
    sub_sequence_number: int = 0


NOT_STORED: Literal["not stored"] = "not stored"
"""The outcome of a put that was reported to have failed: its user record is not in the stream."""
UNKNOWN: Literal["unknown"] = "unknown"
"""The outcome of a put of which nobody can tell: the answer was lost, and it was not tried again."""

Outcome: TypeAlias = Position | Literal["not stored", "unknown"] | None


@dataclass(slots=True)
class Put:
    """A user record as it was put, and what was reported of it; ``None`` is nothing yet.

    ``data`` is what it is known by: no two puts of a history have the same.
    """

    partition_key: str
    data: bytes
    outcome: Outcome = None
    explicit_hash_key: int | str | None = None


class Record(Protocol):
    """What ``check`` reads of a user record in the stream; ``UserRecord`` is one, ``StoredRecord`` another."""

    @property
    def partition_key(self) -> str | None: ...
    @property
    def data(self) -> bytes: ...
    @property
    def sequence_number(self) -> str | None: ...
    @property
    def sub_sequence_number(self) -> int: ...


class StoredRecord(NamedTuple):
    """A user record in the stream, for histories made by hand."""

    partition_key: str
    data: bytes
    sequence_number: str
    sub_sequence_number: int = 0


@dataclass(slots=True)
class ShardContents:
    """The user records of one shard, in order. ``left_out`` counts those that a hash range kept back."""

    shard_id: str
    records: Sequence[Record]
    parents: tuple[str, ...] = ()
    left_out: int = 0


@dataclass(slots=True)
class Report:
    """What was compared, and what does not fit. Counts are of user records."""

    puts: int = 0
    found: int = 0
    """In the stream, each copy counted."""
    left_out: int = 0
    """In the stream, but kept back by a hash range, as the KCL does."""
    unknown: int = 0
    """Puts whose outcome is ``UNKNOWN``."""
    unsettled: int = 0
    """Puts without an outcome: a defect unless the producer was ``killed``."""
    killed: bool = False
    duplicates: int = 0
    """Copies beyond the first; those that are not excused are a defect."""
    excused_by_lost_answer: int = 0
    excused_by_resharding: int = 0
    lost: int = 0
    """Reported as stored, and not in the stream."""
    out_of_order: int = 0
    """First copies that come after that of a later put of the same key."""
    aliased: int = 0
    """Copies under another partition key than that they were put with."""
    denied: int = 0
    """Reported as not stored, and in the stream."""
    misplaced: int = 0
    """In the stream, but nowhere where it was reported: shard, sequence number or sub-sequence number differ."""
    invented: int = 0
    """In the stream, and never put."""
    examples: dict[str, list[str]] = field(default_factory=dict)
    """The first few of each defect, in words."""

    @property
    def duplicated(self) -> int:
        """Duplicates that nothing excuses."""
        return self.duplicates - self.excused_by_lost_answer - self.excused_by_resharding

    @property
    def defects(self) -> dict[str, int]:
        """What is wrong, and how often; empty when all is well."""
        names = ("lost", "out_of_order", "duplicated", "aliased", "denied", "misplaced", "invented")
        counts = {name: getattr(self, name) for name in names}
        counts["unsettled"] = 0 if self.killed else self.unsettled
        return {name: count for name, count in counts.items() if count}

    @property
    def holds(self) -> bool:
        """Whether everything fits."""
        return not self.defects

    def __str__(self) -> str:
        facts = [f"{self.puts:,} user records put", f"{self.found:,} found"]
        if self.left_out:
            facts.append(f"{self.left_out:,} outside the hash range of their shard")
        if self.duplicates:
            facts.append(
                f"{self.duplicates:,} duplicates ({self.excused_by_lost_answer:,} of a lost answer, "
                f"{self.excused_by_resharding:,} of resharding)"
            )
        facts += [
            f"{count:,} {what}"
            for count, what in (
                (self.unknown, "of unknown outcome"),
                (self.unsettled if self.killed else 0, "without an outcome"),
            )
            if count
        ]
        if self.holds:
            return f"Everything fits: {', '.join(facts)}."
        wrong = ", ".join(f"{count:,} {_IN_WORDS[name]}" for name, count in self.defects.items())
        lines = [f"Of {', '.join(facts)}: {wrong}."]
        for name in self.defects:
            lines += [f"  {_IN_WORDS[name]}: {example}" for example in self.examples.get(name, ())]
        return "\n".join(lines)


_IN_WORDS = {
    "lost": "lost",
    "out_of_order": "out of order",
    "duplicated": "duplicated",
    "aliased": "under another key",
    "denied": "stored but reported as not",
    "misplaced": "not where reported",
    "invented": "never put",
    "unsettled": "without an outcome",
}


def check(
    puts: Iterable[Put],
    shards: Iterable[ShardContents],
    *,
    unanswered: Collection[tuple[str, str]] = (),
    killed: bool = False,
) -> Report:
    """Compare what was put with what the stream holds.

    ``puts`` are in the order in which they were put, at least those of one key; ``shards`` is all of the stream, as
    ``read_all`` gives it, in any order. The order of a key is judged shard by shard, parents before their children,
    for puts with the same explicit hash key, or none: only these are bound to come to one shard. Where a producer
    aggregates and the stream is resharded, read with the KCL's rule: otherwise copies that the KCL leaves out count.

    A duplicate is excused by a lost answer when one of its copies is in ``unanswered``: shard id and sequence number of
    Kinesis records whose answer was lost, as ``FaultProxy.unanswered`` tells. It is excused by resharding when
    copies are in a shard and one that came of it by splits and merges, or in two children of one; one for each shard
    but the first. Copies in one Kinesis record are never excused. ``killed`` says that the producer did not come to its
    end, so that puts may be without an outcome.

    Time and memory are linear in what is given; nothing of it is kept. Raises ``ValueError`` for two puts with the same
    data, for shards that are given twice or are their own ancestors, and for records that are not in the order of
    their sequence numbers.
    """
    history = _History(list(puts), unanswered, Report(killed=killed))
    for shard in _parents_first(list(shards)):
        history.read(shard)
    return history.judged()


class _History:
    def __init__(self, puts: list[Put], unanswered: Collection[tuple[str, str]], report: Report) -> None:
        self._puts = puts
        self._unanswered = unanswered if isinstance(unanswered, (set, frozenset)) else set(unanswered)
        self._report = report
        self._number_of: dict[bytes, int] = {}
        for number, put in enumerate(puts):
            other = self._number_of.setdefault(put.data, number)
            if other != number:
                raise ValueError(
                    f"puts {other} and {number} have the same data, {abridged(put.data)}: "
                    "a history tells its puts apart by their data"
                )
        self._first: list[tuple[str, str] | None] = [None] * len(puts)  # the Kinesis record that has the first copy
        self._copies: dict[int, list[tuple[str, str]]] = {}  # those that have the others
        self._confirmed = bytearray(len(puts))  # where it was reported
        self._aliased = bytearray(len(puts))
        self._latest: dict[object, int] = {}  # by key: the latest put of which a copy was read
        self._parents: dict[str, frozenset[str]] = {}
        self._ancestors: dict[str, frozenset[str]] = {}

    def read(self, shard: ShardContents) -> None:
        report = self._report
        report.left_out += shard.left_out
        self._parents[shard.shard_id] = frozenset(shard.parents)
        self._ancestors[shard.shard_id] = frozenset(shard.parents).union(
            *(self._ancestors[parent] for parent in shard.parents if parent in self._ancestors)
        )
        kinesis_record = ("", "")
        at, sub = -1, -1
        for record in shard.records:
            report.found += 1
            sequence_number = record.sequence_number
            if sequence_number != kinesis_record[1]:
                kinesis_record = (shard.shard_id, str(sequence_number))
                before, at, sub = at, int(sequence_number or -1), -1
                if at <= before:
                    raise ValueError(
                        f"{shard.shard_id}: sequence number {sequence_number} comes after {before}, "
                        "which is not as it was stored"
                    )
            if record.sub_sequence_number <= sub:
                raise ValueError(
                    f"{shard.shard_id}: sub-sequence number {record.sub_sequence_number} of {sequence_number} comes "
                    f"after {sub}, which is not as it was stored"
                )
            sub = record.sub_sequence_number
            self._take(record, kinesis_record, sub)

    def _take(self, record: Record, kinesis_record: tuple[str, str], sub: int) -> None:
        number = self._number_of.get(record.data)
        if number is None:
            self._count("invented", record, f" at {_words(*kinesis_record, sub)}")
            return
        put = self._puts[number]
        if put.partition_key != record.partition_key:
            self._aliased[number] = 1
            self._count("aliased", put, f" is under {abridged(record.partition_key, 40)}")
            return
        if isinstance(put.outcome, Position) and put.outcome == (*kinesis_record, sub):
            self._confirmed[number] = 1
        if self._first[number] is not None:
            self._copies.setdefault(number, []).append(kinesis_record)
            return
        self._first[number] = kinesis_record
        key: object = put.partition_key
        if put.explicit_hash_key is not None:
            key = (put.partition_key, int(put.explicit_hash_key))
        latest = self._latest.setdefault(key, number)
        if number < latest:
            later = abridged(self._puts[latest].data, 60)
            self._count("out_of_order", put, f" comes after {later}, which was put later")
        else:
            self._latest[key] = number

    def judged(self) -> Report:
        report = self._report
        report.puts = len(self._puts)
        for number, put in enumerate(self._puts):
            self._judge(number, put)
        for number, copies in self._copies.items():
            self._judge_copies(number, copies)
        return report

    def _judge(self, number: int, put: Put) -> None:
        report, first = self._report, self._first[number]
        if put.outcome is None:
            self._count("unsettled", put)
        elif put.outcome == UNKNOWN:
            report.unknown += 1
        elif put.outcome == NOT_STORED:
            if first is not None:
                self._count("denied", put, f" is at {_words(*first)}")
        elif not isinstance(put.outcome, Position):
            raise TypeError(f"an outcome is a Position, NOT_STORED, UNKNOWN or None, not {abridged(put.outcome)}")
        elif first is None:
            if not self._aliased[number]:
                self._count("lost", put, f" was reported at {_words(*put.outcome)}")
        elif not self._confirmed[number]:
            what = f" is at {_words(*first)}, and was reported at {_words(*put.outcome)}"
            self._count("misplaced", put, what)

    def _count(self, defect: str, put: Put | Record, what: str = "") -> None:
        setattr(self._report, defect, getattr(self._report, defect) + 1)
        self._tell(defect, put, what)

    def _tell(self, defect: str, put: Put | Record, what: str) -> None:
        examples = self._report.examples.setdefault(defect, [])
        if len(examples) < MOST_EXAMPLES:
            examples.append(f"key {abridged(put.partition_key, 40)}, data {abridged(put.data, 60)}{what}")

    def _judge_copies(self, number: int, copies: list[tuple[str, str]]) -> None:
        first = self._first[number]
        assert first is not None
        report = self._report
        report.duplicates += len(copies)
        kinesis_records = {first, *copies}
        excusable = len(kinesis_records) - 1
        by_lost_answer = min(excusable, len(kinesis_records & self._unanswered))
        by_resharding = min(excusable - by_lost_answer, self._resharded({shard_id for shard_id, _ in kinesis_records}))
        report.excused_by_lost_answer += by_lost_answer
        report.excused_by_resharding += by_resharding
        if len(copies) > by_lost_answer + by_resharding:
            where = ", ".join(_words(*place) for place in (first, *copies[:3]))
            self._tell("duplicated", self._puts[number], f" is there {len(copies) + 1} times: {where}")

    def _resharded(self, shards: set[str]) -> int:
        """Return how many of the shards are there because of resharding, beside one of each family."""
        families: list[set[str]] = []
        for shard_id in shards:
            kin = [family for family in families if any(self._are_related(shard_id, other) for other in family)]
            families = [family for family in families if family not in kin]
            families.append({shard_id}.union(*kin))
        return len(shards) - len(families)

    def _are_related(self, one: str, other: str) -> bool:
        """Whether one of them came of the other, or both are children of one."""
        siblings = not self._parents[one].isdisjoint(self._parents[other])
        return siblings or one in self._ancestors[other] or other in self._ancestors[one]


def _words(shard_id: str, sequence_number: str, sub_sequence_number: int | None = None) -> str:
    where = f"{shard_id} {sequence_number}"
    return where if sub_sequence_number is None else f"{where}/{sub_sequence_number}"


def _parents_first(shards: list[ShardContents]) -> Iterator[ShardContents]:
    """Yield the shards, each after its parents as far as these are among them."""
    by_id = {shard.shard_id: shard for shard in shards}
    if len(by_id) < len(shards):
        raise ValueError("a shard is given twice")
    waits_for = {shard.shard_id: {parent for parent in shard.parents if parent in by_id} for shard in shards}
    children: dict[str, list[str]] = {}
    for shard_id, parents in waits_for.items():
        for parent in parents:
            children.setdefault(parent, []).append(shard_id)
    ready = [shard_id for shard_id, parents in waits_for.items() if not parents]
    for shard_id in ready:  # which grows meanwhile
        yield by_id[shard_id]
        for child in children.get(shard_id, ()):
            waits_for[child].discard(shard_id)
            if not waits_for[child]:
                ready.append(child)
    if len(ready) < len(shards):
        left = next(shard_id for shard_id, parents in waits_for.items() if parents)
        raise ValueError(f"{left} is its own ancestor")


def read_all(client: Any, stream_name: str, *, kcl_rule: bool = False) -> list[ShardContents]:
    """Read all that a stream holds now, from the oldest record to the end: for ``check``.

    ``client`` is a boto3 Kinesis client, one that does not go through a proxy that fails. Closed shards are read to
    their end before their children. With ``kcl_rule``, an aggregated record with a user record outside its shard's
    hash range is left out whole, as the KCL does, and counted in ``left_out``. Errors are those of
    ``shardpack.consume.stream.StreamReader``.
    """
    from ..consume.stream.reader import StreamReader  # noqa: PLC0415 - it needs botocore, which check does not

    records: dict[str, list[Record]] = {}
    left_out: dict[str, int] = {}
    with StreamReader(
        stream_name, client=client, until="latest", range_rule=kcl_rule, shard_bytes_per_second=inf
    ) as batches:
        for batch in batches:
            records.setdefault(batch.shard_id, []).extend(batch.records)
            left_out[batch.shard_id] = left_out.get(batch.shard_id, 0) + batch.left_out
    contents = []
    for shard in list_all_shards(client, {"StreamName": stream_name}):
        shard_id = shard["ShardId"]
        parents = tuple(shard[name] for name in ("ParentShardId", "AdjacentParentShardId") if name in shard)
        contents.append(ShardContents(shard_id, records.pop(shard_id, []), parents, left_out.get(shard_id, 0)))
    if records:  # their retention ended meanwhile
        contents += [ShardContents(shard_id, found, (), left_out[shard_id]) for shard_id, found in records.items()]
    return contents
