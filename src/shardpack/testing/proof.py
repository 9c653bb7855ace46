"""Does what came out of a stream equal what went in: every event once, with its key, in the order of its key?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(slots=True)
class Proof:
    """What differs; all zero when nothing does."""

    events: int = 0
    keys: int = 0
    missing: int = 0
    duplicated: int = 0
    wrong_key: int = 0
    foreign: int = 0
    reordered: int = 0
    left_out: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        return not (
            self.missing or self.duplicated or self.wrong_key or self.foreign or self.reordered or self.left_out
        )

    def statement(self) -> str:
        """Say in plain words what was proved, or what was not."""
        if self.holds:
            return (
                f"Every one of the {self.events:,} events came back exactly once, with its key, "
                f"and in the order of its key ({self.keys:,} keys compared)."
            )
        wrong = [
            f"{count:,} {what}"
            for count, what in (
                (self.missing, "missing"),
                (self.duplicated, "duplicated"),
                (self.wrong_key, "under a wrong key"),
                (self.foreign, "never sent"),
                (self.reordered, "out of order"),
                (self.left_out, "outside the hash range of their shard, which the KCL would drop"),
            )
            if count
        ]
        return f"Of {self.events:,} events: {', '.join(wrong)}. For example: {'; '.join(self.examples)}."


def prove(sent: Iterable[tuple[str, bytes]], received: Iterable[tuple[str, bytes]], *, left_out: int = 0) -> Proof:
    """Compare the sequence of every key. ``left_out`` counts user records that a hash range kept back."""
    sent_by_key, received_by_key = _by_key(sent), _by_key(received)
    proof = Proof(events=sum(map(len, sent_by_key.values())), keys=len(sent_by_key), left_out=left_out)
    if left_out:
        proof.examples.append("the hash ranges left user records out")
    if sent_by_key == received_by_key:
        return proof
    everything = {data for datas in sent_by_key.values() for data in datas}
    for key in {**sent_by_key, **received_by_key}:
        expected, found = sent_by_key.get(key, []), received_by_key.get(key, [])
        if expected != found:
            _compare(proof, key, expected, found, everything)
    return proof


def _by_key(events: Iterable[tuple[str, bytes]]) -> dict[str, list[bytes]]:
    by_key: dict[str, list[bytes]] = {}
    for key, data in events:
        by_key.setdefault(key, []).append(data)
    return by_key


def _compare(proof: Proof, key: str, expected: list[bytes], found: list[bytes], everything: set[bytes]) -> None:
    counts, found_counts = Counter(expected), Counter(found)
    missing, extra = counts - found_counts, found_counts - counts
    proof.missing += missing.total()
    if missing:
        _example(proof, key, "missing", missing)
    for data, count in extra.items():
        if data in counts:
            proof.duplicated += count
            _example(proof, key, "duplicated", extra)
        elif data in everything:
            proof.wrong_key += count
            _example(proof, key, "belongs to another key", extra)
        else:
            proof.foreign += count
            _example(proof, key, "never sent", extra)
    in_both = counts & found_counts
    moved = sum(a != b for a, b in zip(_first(expected, in_both), _first(found, in_both), strict=True))
    if moved:
        proof.reordered += moved
        _example(proof, key, "out of order", dict.fromkeys(found, 1))


def _first(events: list[bytes], counts: Mapping[bytes, int]) -> list[bytes]:
    """Return the events that ``counts`` covers, each the first so many times."""
    left = dict(counts)
    kept = []
    for data in events:
        if left.get(data, 0):
            left[data] -= 1
            kept.append(data)
    return kept


def _example(proof: Proof, key: str, what: str, events: Mapping[bytes, int]) -> None:
    if len(proof.examples) < 3:
        data = next(iter(events)).decode(errors="backslashreplace")
        proof.examples.append(f"key {key!r}: {what}: {data if len(data) <= 60 else data[:57] + '...'}")
