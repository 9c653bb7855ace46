"""Links lead somewhere; what the documents on producing show runs, against a local Kinesis that has ``telemetry``."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiobotocore_packages import NEWEST, python_path
from documents import REPOSITORY, TOP, broken_links, sections

from shardpack import Producer
from shardpack.testing import LocalKinesis, history

DOCUMENT = REPOSITORY / "docs" / "producing.md"
RUNNER = Path(__file__).with_name("documents.py")
DOCUMENTS = [path for folder in (".", "docs", "examples") for path in sorted(REPOSITORY.joinpath(folder).glob("*.md"))]
SECTIONS = [
    *(("docs/ingest/producing.md", heading) for heading in sections("docs/ingest/producing.md")),
    ("docs/consume/shapes.md", "Reading a shard"),
    ("docs/understand/how-it-works.md", "The parts on their own"),
    ("README.md", "Producing"),
]


SAID = {("docs/ingest/producing.md", "CBOR"): "the service does not read CBOR"}
"""What is logged of the local Kinesis."""


@pytest.fixture(scope="module")
def kinesis() -> Iterator[LocalKinesis]:
    with LocalKinesis() as kinesis:
        kinesis.create_stream("telemetry", 4)
        yield kinesis


@pytest.fixture
def run(kinesis, command_environment, tmp_path):
    def run(document, heading):
        needs_aiobotocore = any("aiobotocore" in source for _, source in sections(document)[heading])
        return subprocess.run(
            [sys.executable, "-W", "error", RUNNER, document, heading],
            cwd=tmp_path,
            env=command_environment
            | {"AWS_ENDPOINT_URL_KINESIS": kinesis.endpoint_url}
            | ({"PYTHONPATH": python_path(NEWEST)} if needs_aiobotocore else {}),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


@pytest.mark.parametrize(("document", "heading"), SECTIONS)
def test_it_runs(run, document, heading):
    done = run(document, heading)
    assert done.returncode == 0, done.stderr
    said = SAID.get((document, heading))
    assert done.stderr == "" if said is None else done.stderr.startswith(said) and done.stderr.count("\n") == 1


def test_the_first_example_is_a_whole_program(kinesis, run):
    before = _count(kinesis)
    assert run("docs/ingest/producing.md", TOP).returncode == 0
    assert _count(kinesis) - before == 10_000 + 4


def test_what_is_acknowledged_is_all_of_it(run):
    assert run("docs/ingest/producing.md", "Acknowledge upstream when it is stored").stdout == "1000\n"


def test_every_option_has_its_line():
    rows = re.findall(r"^\| (`.*?) \|", DOCUMENT.read_text(), re.MULTILINE)
    names = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert names >= {*inspect.signature(Producer).parameters} - {"stream_name", "stream_arn"}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document):
    assert broken_links(document) == []


def _count(kinesis):
    return sum(len(shard.records) for shard in history.read_all(kinesis.client(), "telemetry", kcl_rule=True))
