"""shardpack bench: how fast it is here, beside what else there is."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..bench.headline import Finding, environment, measure, rate_text, ratio_text
from ..bench.row import Scale
from ..bench.rows import ROWS
from .outcome import exit_on_error, stderr


def bench(
    seconds: Annotated[
        float, typer.Option("--seconds", min=0, metavar="N", help="How long to measure, preparations not counted.")
    ] = 25,
    quick: Annotated[bool, typer.Option("--quick", help="A hundredth of the records: does it work?")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure shardpack on this machine, beside its peers.

    Each row runs ours and the peers in turns, each in a process of its own and on
    one core, after all of them have proved to do the same work. The ratio is that of their best turns; in brackets
    are the lowest and the highest of any round. Peers not installed are named.
    A busy thread is another one of the same process, in a loop of plain Python;
    "alone" is ours without it.

    \b
      shardpack bench
      pip install aws_kinesis_agg six && shardpack bench --json
    """
    with exit_on_error():
        console = Console(highlight=False)
        findings: list[Finding] = []
        with stderr.status("Measuring") as status:
            for finding in measure(seconds, Scale(0.01 if quick else 1.0)):
                findings.append(finding)
                status.update(f"Measuring, {len({finding.row for finding in findings})} of {len(ROWS)}")
        if as_json:
            found = {"environment": environment(), "rows": [finding.to_json() for finding in findings]}
            typer.echo(json.dumps(found, indent=1))
            return
        console.print(_table(findings))
        console.print()
        if how := _how_to_install(findings):
            console.print(how)
        console.print(_about(), style="dim")


def _table(findings: list[Finding]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("", min_width=len("deaggregate_columns"))
    table.add_column("shardpack", justify="right", no_wrap=True)
    table.add_column("beside it", no_wrap=True)
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
        f"shardpack {about['shardpack']}" + "".join(f" · {peer} {v}" for peer, v in about["peers"].items()),
    ]
    return "\n".join(lines)
