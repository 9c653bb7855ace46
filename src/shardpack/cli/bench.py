"""shardpack bench: how fast it is here, beside what else there is."""

from __future__ import annotations

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..bench.end_to_end import RECORD_SIZES, TITLES, Taken, measure_end_to_end
from ..bench.headline import Finding, environment, measure, rate_text, ratio_text
from ..bench.row import CannotMeasureError, Scale
from ..bench.rows import ROWS
from .console import Stdout, stderr
from .outcome import exit_on_error, fail, print_json
from .parameters import command, option


@command
@option(
    "--seconds",
    type=click.FloatRange(min=0),
    default=25,
    metavar="N",
    help="How long to measure, preparations not counted.",
)
@option("--quick", is_flag=True, help="A hundredth of the records: does it work?")
@option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@option("--end-to-end", is_flag=True, help="Where the time goes: put until stored, GetRecords to user records.")
def bench(seconds: float, quick: bool, as_json: bool, end_to_end: bool) -> None:
    """Measure shardpack on this machine, beside its peers.

    Each row runs ours and the peers in turns, each in a process of its own and on
    one core, after all of them have proved to do the same work. The ratio is that of their best turns; in brackets
    are the lowest and the highest of any round. Peers not installed are named.
    A busy thread is another one of the same process, in a loop of plain Python;
    "alone" is ours without it.

    With --end-to-end there are no peers, but what each stage takes of the
    processor, in nanoseconds per user record, and its share of the whole.

    \b
      shardpack bench
      pip install aws_kinesis_agg six && shardpack bench --json
      shardpack bench --end-to-end
    """
    with exit_on_error():
        console = Stdout()
        if end_to_end:
            _end_to_end(console, seconds, Scale(0.01 if quick else 1.0), as_json=as_json)
            return
        findings: list[Finding] = []
        with stderr.status("Measuring") as status:
            for finding in measure(seconds, Scale(0.01 if quick else 1.0)):
                findings.append(finding)
                status.update(f"Measuring, {len({finding.row for finding in findings})} of {len(ROWS)}")
        if as_json:
            found = {"environment": environment(), "rows": [finding.to_json() for finding in findings]}
            print_json(found)
            return
        console.print(_table(findings))
        console.print()
        if how := _how_to_install(findings):
            console.print(how)
        console.print(_about(), style="dim")


def _end_to_end(console: Console, seconds: float, scale: Scale, *, as_json: bool) -> None:
    found: list[Taken] = []
    try:
        with stderr.status("Measuring") as status:
            for taken in measure_end_to_end(seconds, scale):
                found.append(taken)
                status.update(f"Measuring, {len(found)} of {len(TITLES) * len(RECORD_SIZES)}")
    except CannotMeasureError as why:
        fail(str(why))
    if as_json:
        print_json({"environment": environment(), "end_to_end": [taken.to_json() for taken in found]})
        return
    for way, title in TITLES.items():
        console.print(_stages(title, [taken for taken in found if taken.way == way]))
        console.print()
    console.print(_about(), style="dim")


def _stages(title: str, sizes: list[Taken]) -> Table:
    """Make a table of what each stage takes, a pair of columns for each size of user records."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column(title, no_wrap=True)
    for taken in sizes:
        table.add_column(f"{taken.record_size:,} B, ns", justify="right")
        table.add_column("share", justify="right")
    table.add_column("how it is known", style="dim")
    for stages in zip(*(taken.stages for taken in sizes), strict=True):
        cells = [
            cell
            for taken, stage in zip(sizes, stages, strict=True)
            for cell in (f"{stage.nanoseconds:,.0f}", f"{taken.share(stage):.0%}")
        ]
        table.add_row(stages[0].name, *cells, stages[0].how)
    whole = [cell for taken in sizes for cell in (f"{taken.nanoseconds:,.0f}", "")]
    rates = [
        cell
        for taken in sizes
        for cell in (rate_text(taken.records_per_cpu_second, ""), f"{taken.bytes_per_cpu_second / 1e6:,.0f} MB/s")
    ]
    table.add_row("everything", *whole, style="bold")
    table.add_row("a second of processor time", *rates, style="bold")
    return table


def _table(findings: list[Finding]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("", min_width=len("deaggregate_columns"))
    table.add_column("shardpack", justify="right", no_wrap=True)
    table.add_column("compared with", no_wrap=True)
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("ratio", justify="right", no_wrap=True)
    before = ""
    for finding in findings:
        first, before = finding.row != before, finding.row
        table.add_row(
            Text(finding.title.replace("`", "") if first else ""),
            rate_text(finding.rate, finding.unit) if finding.rate is not None and first else "",
            finding.against,
            rate_text(finding.peer_rate, finding.unit) if finding.peer_rate is not None else "",
            Text(ratio_text(finding), "bold" if finding.ratio else "dim"),
        )
    return table


def _how_to_install(findings: list[Finding]) -> str:
    missing = {finding.against: finding.missing for finding in findings if finding.missing and finding.against}
    lines = [f"To see {peer} beside it: {how}" for peer, how in missing.items()]
    lines += [f"{finding.row} was not measured: {finding.missing}" for finding in findings if not finding.against]
    return "\n".join(lines)


def _about() -> str:
    about = environment()
    lines = [
        f"{about['cpu']}, one core · MD5 kernel {about['md5_kernel']} · {about['python']} · {about['os']}",
        f"SHA-256 of {about['sha256']} · shardpack {about['shardpack']}"
        + "".join(f" · {peer} {v}" for peer, v in about["peers"].items()),
    ]
    return "\n".join(lines)
