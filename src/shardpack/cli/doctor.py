"""shardpack doctor: what would fail of a stream."""

from __future__ import annotations

from dataclasses import asdict

from rich.text import Text

from .client import aws_options, make_client, stream_argument
from .console import Stdout
from .inspect import visible
from .outcome import FAILED, exit_on_error, print_json, until_reader_leaves
from .parameters import command, option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..transport.diagnosis import Check, Diagnosis

STYLES = {"ok": "green", "warning": "yellow", "fails": "bold red"}


@command
@stream_argument
@option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@aws_options
def doctor(stream: str, as_json: bool, region: str | None, endpoint_url: str | None, profile: str | None) -> None:
    """Tell what would fail before anything is put; writes nothing.

    Looks at endpoint, credentials, clock, the stream's settings, and at what may
    be done with it: PutRecords by a dry run, where the service knows that. A line
    a check, and what to do. Exit code 1 means that nothing would be stored.

    \b
      shardpack doctor telemetry
      shardpack doctor arn:aws:kinesis:eu-west-1:111122223333:stream/telemetry
      shardpack doctor telemetry --json | jq '.checks[] | select(.verdict != "ok")'
    """
    from ..transport.diagnosis import diagnose  # noqa: PLC0415 (loads botocore, which help does without)

    with exit_on_error():
        diagnosis = diagnose(make_client(region, endpoint_url, profile, calls_once=1), stream)
        if as_json:
            checks = list(map(asdict, diagnosis.checks))
            print_json({"stream": stream, "verdict": diagnosis.verdict, "checks": checks})
        else:
            with until_reader_leaves():  # the exit code is the verdict all the same
                _show(diagnosis)
        if diagnosis.verdict == "fails":
            raise SystemExit(FAILED)


def _show(diagnosis: Diagnosis) -> None:
    out = Stdout()
    width = max(len(check.name) for check in diagnosis.checks)
    for check in diagnosis.checks:
        out.print(_line(check, width), soft_wrap=True)


def _line(check: Check, width: int) -> Text:
    found = " ".join(visible(f"{check.found} → {check.remedy}" if check.remedy else check.found).split())
    return Text.assemble((f"{check.verdict:<9}", STYLES[check.verdict]), f"{check.name:<{width}}  {found}")
