"""Make what is published of measurements: results/latest.json, the README's table, docs/understand/benchmarks, plots.

python benchmarks/report.py SUITE.json HEADLINE.json    after measuring: `make bench` does both
python benchmarks/report.py                             once more from results/latest.json
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from shardpack.bench.headline import Finding, few_digits, rate_text, ratio_text
from shardpack.bench.peers import AIOKPL, AWS
from shardpack.bench.producing import BOTO3, CONFLUENT
from shardpack.bench.row import ALONE, BESIDE

ROOT = Path(__file__).resolve().parents[1]
LATEST = ROOT / "benchmarks" / "results" / "latest.json"
LIBRARIES = (AWS, AIOKPL, BOTO3, CONFLUENT, "hashlib")
README, BENCHMARKS = ROOT / "README.md", ROOT / "docs" / "understand" / "benchmarks.md"
BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("headline", nargs="?", type=Path, help="of shardpack bench --json")
    parser.add_argument("suites", nargs="*", type=Path, help="of pytest --benchmark-json")
    arguments = parser.parse_args()
    if arguments.headline is not None:
        suites = [json.loads(path.read_text()) for path in arguments.suites]
        results = merge(json.loads(arguments.headline.read_text()), suites)
        LATEST.parent.mkdir(exist_ok=True)
        LATEST.write_text(json.dumps(results, indent=1) + "\n")
    results = json.loads(LATEST.read_text())
    for path, section in ((README, readme_section(results)), (BENCHMARKS, docs_section(results))):
        path.write_text(replace_section(path.read_text(), section))
    from plots import draw_all  # noqa: PLC0415 (the tables need no matplotlib)

    draw_all(results, ROOT / "docs" / "img")


def merge(headline: Mapping[str, Any], suites: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Put all measurements into one, with what they were made on."""
    environment = {
        **headline["environment"],
        "commit": commit(),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": "make bench",
    }
    return {"environment": environment, "headline": headline["rows"], "suite": fastest(suites)}


def fastest(suites: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Keep each benchmark of the suite where it was fastest, in the order of the first run."""
    best: dict[str, dict[str, Any]] = {}
    for benchmark in (benchmark for suite in suites for benchmark in suite["benchmarks"]):
        found = {"name": benchmark["fullname"], "group": benchmark["group"], **benchmark["extra_info"]}
        found |= {figure: benchmark["stats"][figure] for figure in ("min", "median", "iqr", "rounds")}
        if found["name"] not in best or found["min"] < best[found["name"]]["min"]:
            best[found["name"]] = found
    return list(best.values())


def commit() -> str:
    """Name what was measured; a `+` says that it was changed since. What this script writes does not count."""
    ours = [":!README.md", ":!docs", ":!benchmarks/results"]
    changed = _git("status", "--porcelain", "--", ".", *ours)
    return _git("rev-parse", "--short", "HEAD") + ("+" if changed else "")


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def replace_section(page: str, section: str) -> str:
    """Put a section between the page's markers, in place of what is there."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no {BEGIN} … {END}")
    return f"{before}{BEGIN}\n{section}\n{END}{after}"


def readme_section(results: Mapping[str, Any]) -> str:
    findings = [Finding.from_json(values) for values in results["headline"]]
    lines = ["| | shardpack | compared with | rate of that | ratio |", "|---|---:|---|---:|---:|"]
    before = ""
    for finding in findings:
        if finding.ratio is None:
            continue
        first, before = finding.row != before, finding.row
        cells = (
            f"{finding.title}, {finding.detail}" if first else "",
            rate_text(finding.rate or 0, finding.unit) if first else "",
            f"`{finding.against}`" if finding.against in LIBRARIES else finding.against,
            rate_text(finding.peer_rate or 0, finding.unit),
            f"**{ratio_text(finding)}".replace(" ", "** ", 1),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(
        [
            measured_on(results["environment"]),
            "",
            *lines,
            "",
            "![Throughput by record size, log axes: shardpack and its peers](docs/img/record-size.svg)",
        ]
    )


def measured_on(about: Mapping[str, Any]) -> str:
    """Say what the figures were taken on."""
    facts = [
        f"{about['cpu']}, one core (two threads: two)",
        f"MD5 kernel {about['md5_kernel']}",
        *([f"SHA-256 of {about['sha256']}"] if about.get("sha256") else []),
        about["python"],
        *([about["compiler"]] if about["compiler"] else []),
        about["os"],
        *(f"{peer} {version}" for peer, version in about["peers"].items()),
        f"commit {about['commit']}",
        about["date"][:10],
        f"`{about['command']}`",
    ]
    return " · ".join(facts)


def docs_section(results: Mapping[str, Any]) -> str:
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for benchmark in results["suite"]:
        groups.setdefault(benchmark["group"], []).append(benchmark)
    lines = [measured_on(results["environment"]), ""]
    for name, alternative in (
        ("record-size", "Throughput by record size"),
        ("shards-and-keys", "Cost of a user record by shard count and by key cardinality"),
        ("md5", "MD5 by kernel"),
    ):
        lines += [f"![{alternative}](../img/{name}.svg)", ""]
    for group, benchmarks in groups.items():
        beside_busy_thread = any("peer" in benchmark for benchmark in benchmarks)
        unit, table = busy_thread_table(benchmarks) if beside_busy_thread else rate_table(benchmarks)
        lines += [f"**{group[0].upper()}{group[1:]}**, {unit}", "", *table, ""]
    return "\n".join(lines).rstrip()


def rate_table(benchmarks: Iterable[Mapping[str, Any]]) -> tuple[str, list[str]]:
    """Make a table of a group's rates, a line for each contender; returns the unit too."""
    contenders: dict[str, dict[Any, str]] = {}
    unit = ""
    for benchmark in benchmarks:
        rate = benchmark["amount"] / benchmark["min"]
        contenders.setdefault(benchmark["contender"], {})[benchmark["at"]], unit = {
            "bytes": (few_digits(rate / 1e9), "GB/s"),
            "starts": (few_digits(1e3 / rate), "milliseconds, the fastest; fewer is better"),
            "requests": (few_digits(1e3 / rate), "milliseconds of processor time per request; fewer is better"),
            "nanoseconds": (few_digits(1e9 / rate), "nanoseconds per user record; fewer is better"),
            "milliseconds": (few_digits(1e3 / rate), "milliseconds; fewer is better"),
            "multiples": (few_digits(1 / rate), "fewer is better"),
            "bytes each": (few_digits(1 / rate), "bytes for each user record; fewer is better"),
            "megabytes": (few_digits(1e3 / rate), "milliseconds of processor time per megabyte; fewer is better"),
        }.get(benchmark["unit"], (millions(rate), f"million {benchmark['unit']} per second"))
    places = list(dict.fromkeys(at for cells in contenders.values() for at in cells))
    return unit, [
        f"| | {' | '.join(f'{at:,}' if isinstance(at, int) else at for at in places)} |",
        f"|---{'|---:' * len(places)}|",
        *(f"| {name} | {' | '.join(cells.get(at, '') for at in places)} |" for name, cells in contenders.items()),
    ]


def busy_thread_table(benchmarks: Iterable[Mapping[str, Any]]) -> tuple[str, list[str]]:
    """Make a table of a call's time alone and beside a busy thread, and there beside each peer's; returns the unit too.

    Medians, because now and then the GIL comes back at once, and the fastest would be those.
    """
    contenders: dict[str, dict[str, float]] = {}
    peers: dict[str, float] = {}
    for benchmark in benchmarks:
        contenders.setdefault(benchmark["contender"], {})[benchmark["at"]] = benchmark["median"]
        if benchmark["peer"] and benchmark["at"] == BESIDE:
            peers[benchmark["contender"]] = benchmark["median"]
    columns = [ALONE, BESIDE, "takes", *(f"times as fast there as {peer}" for peer in peers)]
    lines = [f"| | {' | '.join(columns)} |", f"|---{'|---:' * len(columns)}|"]
    for name, took in contenders.items():
        alone, beside = took[ALONE], took[BESIDE]
        cells = [few_digits(1e3 * alone), few_digits(1e3 * beside), f"{few_digits(beside / alone)}×"]  # noqa: RUF001
        cells += ["–" if name in peers else f"{few_digits(peer / beside)}×" for peer in peers.values()]  # noqa: RUF001
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "milliseconds, the median; fewer is better", lines


def millions(rate: float) -> str:
    """Write a rate in millions with two digits, however small."""
    return few_digits(rate / 1e6) if rate >= 995_000 else f"{rate / 1e6:.2g}"


if __name__ == "__main__":
    main()
