"""The headline: every row measured, as plain values that become a table, JSON or Markdown."""

from __future__ import annotations

import hashlib
import platform
import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from .._native import md5
from .interleave import Ratio, interleave
from .peers import NotInstalledError, versions
from .process import ContenderProcess, RowSummary
from .row import FLOOR, OURS, CannotMeasureError, Scale
from .rows import ROWS


@dataclass(frozen=True, slots=True)
class Finding:
    """One contender beside ours. ``ratio`` is None where it could not be measured, and ``missing`` says why."""

    row: str
    title: str
    detail: str
    unit: str
    amount: float
    against: str
    rate: float | None = None
    peer_rate: float | None = None
    ratio: Ratio | None = None
    rounds: int = 0
    missing: str | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Finding:
        ratio = values["ratio"]
        return cls(**{**values, "ratio": ratio and Ratio(**ratio)})


def measure(seconds: float, scale: Scale, rows: tuple[str, ...] = tuple(ROWS)) -> Iterator[Finding]:
    """Measure the rows one after the other, each for its share of about so many seconds."""
    for name in rows:
        with ExitStack() as processes:
            try:
                ours = processes.enter_context(ContenderProcess(name, scale))
                summary = ours.summary()
            except CannotMeasureError as why:
                yield Finding(name, name, "", "", 0, "", missing=str(why))
                continue
            _, *others = summary.amounts
            peers = {peer: processes.enter_context(ContenderProcess(name, scale, peer)) for peer in others}
            yield from _measure_row(name, summary, ours, peers, seconds / len(rows))


def _measure_row(
    name: str, summary: RowSummary, ours: ContenderProcess, peers: Mapping[str, ContenderProcess], seconds: float
) -> Iterator[Finding]:
    ready, missing = {OURS: ours.turn}, {}
    for peer, process in peers.items():
        try:
            process.summary()
        except NotInstalledError as how:
            missing[peer] = str(how)
        else:
            ready[peer] = process.turn
    turns = interleave(ready, seconds)
    amount = summary.amounts[OURS]
    rate = amount / turns.best(OURS)
    for peer in peers:
        finding = Finding(name, summary.title, summary.detail, summary.unit, amount, peer, rate, rounds=turns.rounds)
        if peer in missing:
            yield replace(finding, missing=missing[peer])
        else:
            work = summary.amounts[peer]
            yield replace(finding, peer_rate=work / turns.best(peer), ratio=turns.ratio(OURS, peer, amount / work))


def environment() -> dict[str, Any]:
    """Say what was measured, and on what."""
    return {
        "shardpack": version("shardpack"),
        "cpu": cpu_model(),
        "md5_kernel": md5._kernel(),  # noqa: SLF001 (the one in use, which has no public name)
        "sha256": sha256(),
        "compiler": compiler(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "os": f"{platform.system()} {platform.release().partition('-')[0]} {platform.machine()}",
        "peers": versions(),
    }


def cpu_model() -> str:
    try:
        found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor() or platform.machine()


def sha256() -> str:
    """Return whose SHA-256 hashlib has, which signatures are made with, and the instructions for it that there are."""
    whose = ssl.OPENSSL_VERSION if hashlib.sha256.__module__ == "_hashlib" else platform.python_implementation()
    try:
        found = re.search(
            r"^(?:flags|Features)\s*:.*\b(sha_ni|sha2)\b", Path("/proc/cpuinfo").read_text(), re.MULTILINE
        )
    except OSError:
        return whose
    return f"{whose}, {found[1] if found else 'no instructions for it'}"


def compiler() -> str | None:
    """Return the compiler of the native code, which it left its name in, or None."""
    found = re.search(rb"(GCC): \([^)]*\) ([0-9.]+)|(clang) version ([0-9.]+)", Path(md5.__file__).read_bytes())
    return " ".join(part.decode() for part in found.groups() if part) if found else None


# --- figures as text ---


def rate_text(rate: float, unit: str) -> str:
    """Write a rate as people say it: 6.1 M user records/s, 7.9 GB/s; of starts and requests, how long one takes.

    Of ``bytes each``, how many there are for one.
    """
    if unit in {"starts", "requests"}:
        return f"{few_digits(1e3 / rate)} ms"
    if unit == "bytes each":
        return f"{few_digits(1 / rate)} B"
    if unit == "bytes":
        return f"{few_digits(rate / 1e9)} GB/s"
    return f"{few_digits(rate / 1e6)} M/s"


def ratio_text(finding: Finding) -> str:
    """Write a ratio and its quartiles: as a multiple, or of the floor as a percentage."""
    ratio = finding.ratio
    if ratio is None:
        return "not installed" if finding.rate is not None else "not measured"
    if finding.against == FLOOR:
        return f"{ratio.value:.0%} ({ratio.low:.0%} to {ratio.high:.0%})"
    return f"{few_digits(ratio.value)}× ({few_digits(ratio.low)} to {few_digits(ratio.high)})"  # noqa: RUF001


def few_digits(value: float) -> str:
    """Round to what such a measurement can tell: two digits, three from 100 on."""
    if value >= 9.95:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 0.995 else f"{value:.2f}"
