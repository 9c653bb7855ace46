"""Links lead somewhere; what documents show runs, against a local Kinesis that has ``telemetry``."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiobotocore_packages import NEWEST, python_path
from check_site import defects
from documents import REPOSITORY, TOP, broken_links, sections

from shardpack import Producer
from shardpack.testing import LocalKinesis, history

OPTIONS = REPOSITORY / "docs" / "ingest" / "options.md"
PRODUCING, TESTING = "docs/ingest/producing.md", "docs/operate/testing.md"
RUNNER = Path(__file__).with_name("documents.py")
GUIDES = [REPOSITORY / "README.md", *sorted(REPOSITORY.glob("docs/**/*.md"))]
DOCUMENTS = [*GUIDES, *(path for folder in (".", "examples") for path in REPOSITORY.joinpath(folder).glob("[!R]*.md"))]
LETTERS = "docs/operate/dead-letters.md"
FIXTURES = (TESTING, "As a fixture")
FAILING, JUDGED = "A Kinesis that fails as told", "Was anything lost?"
ALONE = {
    (PRODUCING, "The end"),
    (PRODUCING, "Acknowledge upstream when it is stored"),
    (PRODUCING, TOP),
    FIXTURES,
    *((TESTING, heading) for heading in (TOP, FAILING, JUDGED)),
    *((LETTERS, heading) for heading in sections(LETTERS)),
    ("docs/consume/spark.md", TOP),
}
"""What ends its process, or has a test of its own."""

SAID = {"docs/ingest/options.md": "the service does not read CBOR"}
"""What is logged of the local Kinesis."""


def _programs() -> dict[str, list[tuple[str, str]]]:
    """Give the sections that may share a process, of all documents; all that there are, but for those ALONE."""
    together: dict[str, list[tuple[str, str]]] = {}
    for path in GUIDES:
        document = path.relative_to(REPOSITORY).as_posix()
        for heading, blocks in sections(document).items():
            if (document, heading) not in ALONE:
                aio = " with aiobotocore" if any("aiobotocore" in source for _, source in blocks) else ""
                name = (
                    document if document in SAID else path.parent.name if path.parent != REPOSITORY else "README"
                ) + aio
                together.setdefault(name, []).append((document, heading))
    return together


PROGRAMS = _programs()


@pytest.fixture(scope="module")
def kinesis() -> Iterator[LocalKinesis]:
    with LocalKinesis() as kinesis:
        kinesis.create_stream("telemetry", 4)
        yield kinesis


@pytest.fixture
def run(kinesis, command_environment, tmp_path):
    def run(*programs):
        needs_aiobotocore = any(
            "aiobotocore" in source for document, heading in programs for _, source in sections(document)[heading]
        )
        return subprocess.run(
            [sys.executable, "-W", "error", RUNNER, *map("#".join, programs)],
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


@pytest.mark.parametrize("name", PROGRAMS)
def test_they_run(run, name):
    done = run(*PROGRAMS[name])
    assert done.returncode == 0, done.stderr
    said = SAID.get(name)
    assert done.stderr == "" if said is None else done.stderr.startswith(said) and done.stderr.count("\n") == 1


def test_no_block_hides_from_the_tests():
    """A fence that is indented, or names Python otherwise, would be run by none."""
    fences = {
        (path.name, fence) for path in GUIDES for fence in re.findall(r"^[ \t>]*```.+$", path.read_text(), re.MULTILINE)
    }
    assert {fence for _, fence in fences} >= {"```python", "```sh"}
    known = {
        "```" + name
        for name in ("python", "sh", "text", "json", "yaml", "ini", "properties", "toml", "java", "go", "js", "sql")
    }
    assert {(name, fence) for name, fence in fences if fence not in known} == set()


def test_the_end_runs(run):
    done = run((PRODUCING, "The end"))
    assert (done.returncode, done.stderr) == (0, "")


def test_what_is_shown_of_testing_prints_what_it_says(run):
    assert run((TESTING, TOP)).stdout == "4\n"
    assert run((TESTING, FAILING)).stdout == "Counter()\n"
    [(_, source)] = sections(TESTING)[JUDGED]
    said = run((TESTING, JUDGED)).stdout
    assert said.startswith(re.search(r"# (Everything fits: .*), …", source)[1]), said


def test_a_dead_letter_is_kept_and_sent_again(run):
    done = run(*((LETTERS, heading) for heading in sections(LETTERS)))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-3:] == ["2 0 0", "0 0 0", "0 []"]


def test_the_fixtures_are_a_conftest(tmp_path):
    tmp_path.joinpath("conftest.py").write_text("".join(source for _, source in sections(FIXTURES[0])[FIXTURES[1]]))
    tmp_path.joinpath("test_own.py").write_text(
        "import boto3\n\ndef test_own(stream, environment):\n"
        "    assert len(boto3.client('kinesis').list_shards(StreamName=stream)['Shards']) == 2\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", tmp_path],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_the_first_example_is_a_whole_program(kinesis, run):
    before = _count(kinesis)
    assert run((PRODUCING, TOP)).returncode == 0
    assert _count(kinesis) - before == 10_000 + 4


def test_what_is_acknowledged_is_all_of_it(run):
    assert run((PRODUCING, "Acknowledge upstream when it is stored")).stdout == "1000\n"


def test_every_option_has_its_line():
    rows = re.findall(r"^\| (`.*?) \|", OPTIONS.read_text(), re.MULTILINE)
    names = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert names >= {*inspect.signature(Producer).parameters} - {"stream_name", "stream_arn"}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document):
    assert broken_links(document) == []


def _count(kinesis):
    return sum(len(shard.records) for shard in history.read_all(kinesis.client(), "telemetry", kcl_rule=True))


def test_links_of_the_site_that_lead_nowhere_are_found(tmp_path):
    tmp_path.joinpath("there").mkdir()
    tmp_path.joinpath("there", "index.html").write_text('<h2 id="here">x</h2><a href="../">up</a>')
    tmp_path.joinpath("index.html").write_text(
        '<script src="https://cdn.example/x.js"></script><img src="data:,"><a href="there/#here"></a>'
        '<a href="gone/"></a><a href="there/#gone"></a><a href="../../out"></a><a href="https://example.org"></a>'
    )
    assert defects(tmp_path) == [
        ".: loads https://cdn.example/x.js",
        ".: gone/ is not there",
        ".: there/#gone: no such heading",
        ".: ../../out leads out of the site",
    ]


def test_tests_that_documents_name_exist():
    named = {name for path in GUIDES for name in re.findall(r"`(?:tests/)?(test_\w+\.py)`", path.read_text())}
    assert "test_deaggregate_hostile.py" in named
    assert {name for name in named if not RUNNER.with_name(name).exists()} == set()
