"""How benchmarks measure and judge: on made-up clocks and figures. What they measure is asserted in them."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import asdict
from functools import partial
from itertools import count
from pathlib import Path

import pytest
from isolated import run

from shardpack import Boto3Transport, KinesisRecord, ShardMap
from shardpack.bench.canned_kinesis import STREAM, canned_kinesis
from shardpack.bench.headline import Finding, rate_text, ratio_text
from shardpack.bench.interleave import LONGEST_TURN, MIN_ROUNDS, Ratio, Turns, interleave, take_turn
from shardpack.bench.peers import NotInstalledError
from shardpack.bench.process import ContenderProcess
from shardpack.bench.producing import new_client
from shardpack.bench.row import OURS, CannotMeasureError, Contender, Row, Scale, WrongResultError
from shardpack.bench.rows import ROWS

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


def script(name):
    """Import one of the benchmarks' scripts, which are no package."""
    spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", BENCHMARKS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def compare():
    return script("compare")


@pytest.fixture(scope="module")
def report():
    return script("report")


# --- turns ---


class Clock:
    """Time that passes only as a contender runs."""

    def __init__(self, monkeypatch) -> None:
        self.now = 0.0
        monkeypatch.setattr("time.perf_counter", lambda: self.now)

    def contender(self, *seconds: float):
        """Return something that takes these seconds, then the last of them for ever."""
        runs = count()

        def go():
            self.now += seconds[min(next(runs), len(seconds) - 1)]

        return go


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def turns_of(contenders):
    return {name: partial(take_turn, run) for name, run in contenders.items()}


def test_contenders_take_turns_of_the_same_length(clock):
    calls: list[str] = []
    fast, slow = clock.contender(0.01), clock.contender(0.2)
    contenders = {"fast": lambda: (calls.append("f"), fast()), "slow": lambda: (calls.append("s"), slow())}
    turns = interleave(turns_of(contenders), 2.0)
    assert turns.best("fast") == pytest.approx(0.01)
    assert turns.best("slow") == pytest.approx(0.2)
    measured = "".join(calls)[3:]  # the fast one ran twice, the slow one once to see how long they take
    assert measured.startswith("f" * 20 + "ss" + "f" * 20 + "f" * 20 + "s")
    assert turns.rounds == 4


def test_there_are_rounds_enough_when_time_is_not(clock):
    turns = interleave(turns_of({"a": clock.contender(10 * LONGEST_TURN), "b": clock.contender(0.001)}), 0)
    assert turns.rounds == MIN_ROUNDS


def test_what_is_paid_once_is_not_measured(clock):
    turns = interleave(turns_of({"a": clock.contender(5.0, 0.1), "b": clock.contender(0.1)}), 0)
    assert turns.seconds["a"] == pytest.approx((0.1,) * MIN_ROUNDS)


def test_ratio_is_that_of_the_best_turns_and_lies_in_its_spread():
    turns = Turns({"ours": (1.0, 1.5, 1.2), "peer": (12.0, 11.0, 10.0)})
    ratio = turns.ratio("ours", "peer")
    assert ratio == Ratio(10.0, 11 / 1.5, 12.0)
    assert turns.ratio("ours", "peer", work=2.0) == Ratio(20.0, 2 * 11 / 1.5, 24.0)


# --- rows ---


@pytest.mark.parametrize("name", ROWS)
def test_every_row_proves_itself(name):
    try:
        row = ROWS[name](Scale(0.001))
    except CannotMeasureError as why:
        pytest.skip(str(why))
    assert next(iter(row.contenders)) == OURS
    for contender in row.contenders:
        with contextlib.suppress(NotInstalledError):
            row.proved(contender)()
        assert row.amount_of(contender) > 0


def test_contender_that_does_other_work_is_an_error():
    row = Row("a row", "", "keys", 1, {OURS: Contender(lambda: lambda: 3, lambda found: found == 2)})
    with pytest.raises(WrongResultError, match="a row: shardpack: what went in did not come out"):
        row.proved(OURS)


def test_run_that_tells_what_it_took_is_taken_at_its_word():
    told = iter([9.0, 1.0, 3.0])
    row = Row("a row", "", "keys", 1, {OURS: Contender(lambda: lambda: next(told), seconds=float)})
    assert row.turn(OURS)(2) == 2.0  # the first was the proof


# --- a Kinesis that only answers ---


def test_canned_kinesis_stores_each_entry_where_its_hash_key_belongs():
    shard_map = ShardMap.uniform(64)
    records = [KinesisRecord(f"device-{i}", None if i % 2 else str(i << 120), b"data", 0, 1, 12) for i in range(200)]
    shards = shard_map.assign(
        [record.partition_key for record in records], [record.explicit_hash_key for record in records]
    )
    with canned_kinesis(shards=64) as url:
        transport = Boto3Transport(new_client(url), STREAM)
        assert transport.list_shards() == shard_map
        assert transport.describe().open_shard_count == 64
        outcomes = transport.put_records(records)
    assert [outcome.shard_id for outcome in outcomes] == [shard_map[shard].shard_id for shard in shards]


def test_canned_kinesis_throttles_where_it_is_told_to():
    with canned_kinesis(throttled=True) as url:
        transport = Boto3Transport(new_client(url), STREAM)
        outcomes = transport.put_records([KinesisRecord("device-7", None, b"data", 0, 1, 12)] * 2)
    assert [outcome.error_code for outcome in outcomes] == ["ProvisionedThroughputExceededException"] * 2


# --- each in a process of its own ---


def test_contender_runs_in_a_process_of_its_own():
    with ContenderProcess("md5", Scale(0.001), "hashlib") as process:
        summary = process.summary()
        assert (summary.title, summary.unit) == ("MD5", "bytes")
        assert list(summary.amounts) == [OURS, "hashlib"]
        assert process.turn(2) > 0
        pid = process._process.pid
        assert pid != os.getpid()
    assert not process._process.is_alive()


def test_what_cannot_be_measured_is_said_by_its_process(without_peers, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", without_peers)
    with (
        ContenderProcess("drop-in-boto3", Scale(0.001), "aws_kinesis_agg") as process,
        pytest.raises(NotInstalledError) as how,
    ):
        process.summary()
    assert str(how.value) == "pip install aws_kinesis_agg six"


@pytest.fixture
def without_peers(tmp_path):
    """A folder for PYTHONPATH that makes every process live without aws_kinesis_agg and pyarrow."""
    hide = "import sys\nfor m in ('', '.aggregator', '.deaggregator'): sys.modules['aws_kinesis_agg' + m] = None\n"
    hide += "sys.modules['pyarrow'] = None\n"
    (tmp_path / "sitecustomize.py").write_text(hide)
    return str(tmp_path)


# --- the command ---


OF_EACH_KIND = [
    *("hash-keys", "aggregate", "threads", "compress-bytes", "floor", "deaggregate", "drop-in-boto3", "cold-start"),
    *("producer", "put-records-many", "get-records", "stream-columns", "payload-codec"),
]
IN_SHORT_TURNS = f"""
import sys
from shardpack.bench import interleave, rows
interleave.SHORTEST_TURN = 0.001  # who is faster is not asked
rows.ROWS = {{name: rows.ROWS[name] for name in {OF_EACH_KIND}}}
from shardpack.cli import main
sys.argv = ["shardpack", "bench", "--json", "--quick", "--seconds", "0"]
main()
"""


def test_bench_prints_rows_as_json(command_environment):
    command = [sys.executable, "-W", "error", "-c", IN_SHORT_TURNS]
    done = subprocess.run(command, env=command_environment, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert list(dict.fromkeys(row["row"] for row in found["rows"])) == OF_EACH_KIND
    for row in found["rows"]:
        finding = Finding.from_json(row)
        assert finding.to_json() == row
        if finding.missing is None:
            assert finding.ratio is not None
            assert 0 < finding.ratio.low <= finding.ratio.value * 1.000001
            assert finding.ratio.value <= finding.ratio.high * 1.000001
            assert finding.rounds >= MIN_ROUNDS
    assert found["environment"]["cpu"]
    assert found["environment"]["md5_kernel"]


FEWER_ROWS = """
import sys
from shardpack.bench import rows
rows.ROWS = {name: rows.ROWS[name] for name in ("aggregate", "deaggregate-pyarrow")}
from shardpack.cli import main
sys.argv = ["shardpack", "bench", "--quick", "--seconds", "0"]
main()
"""


def test_bench_names_what_is_not_installed(without_peers):
    told = run(FEWER_ROWS, PYTHONPATH=without_peers)
    assert "not installed" in told
    assert "To see aws_kinesis_agg beside it: pip install aws_kinesis_agg six" in told
    assert "deaggregate-pyarrow was not measured: needs pyarrow: pip install pyarrow" in told


def test_importing_shardpack_does_not_import_the_benchmarks():
    loaded = run("import sys, shardpack; print(*sys.modules)").split()
    assert not [name for name in loaded if name.startswith(("shardpack.cli", "shardpack.bench"))]


def test_figures_have_the_digits_they_deserve():
    assert rate_text(7_512_345, "user records") == "7.5 M/s"
    assert rate_text(75_123_456, "keys") == "75 M/s"
    assert rate_text(11.4e9, "bytes") == "11 GB/s"
    assert rate_text(40, "starts") == "25 ms"
    assert rate_text(400, "requests") == "2.5 ms"
    assert rate_text(1 / 42, "bytes each") == "42 B"
    finding = Finding("aggregate", "t", "d", "keys", 1, "peer", 2.0, 1.0, Ratio(31.7, 9.04, 108.2), 3)
    assert ratio_text(finding) == "32× (9.0 to 108)"  # noqa: RUF001
    floor = Finding("floor", "t", "d", "bytes", 1, "memcpy + MD5", 2.0, 1.0, Ratio(0.314, 0.3, 0.35), 3)
    assert ratio_text(floor) == "31% (30% to 35%)"


# --- what is published ---

STATS = ("min", "median", "iqr", "rounds")

FINDINGS = [
    Finding("aggregate", "`add_many`", "100 B", "user records", 10, "aws_kinesis_agg", 8e6, 2e5, Ratio(40, 39, 42), 9),
    Finding("aggregate", "`add_many`", "100 B", "user records", 10, "aiokpl", 8e6, missing="pip install aiokpl"),
    Finding("floor", "`add_many`", "1 KiB", "bytes", 10, "memcpy + MD5", 2e9, 6e9, Ratio(0.33, 0.3, 0.36), 9),
    Finding("aggregate-busy-thread", "…", "100 B", "user records", 10, "alone", 4e6, 8e6, Ratio(0.5, 0.49, 0.51), 9),
    Finding("columns", "columns", "", "", 0, "", missing="not here"),
]
RESULTS = {
    "environment": {
        "cpu": "A CPU",
        "md5_kernel": "avx2",
        "sha256": "OpenSSL 9, sha_ni",
        "compiler": None,
        "python": "CPython 3.99",
        "os": "Linux",
        "peers": {"aws_kinesis_agg": "1.2.3"},
        "commit": "abc1234",
        "date": "2025-01-02T03:04:05+00:00",
        "command": "make bench",
    },
    "headline": [asdict(finding) for finding in FINDINGS],
    "suite": [
        {"group": "md5", "contender": "avx2", "at": 10, "amount": 1e9, "unit": "bytes", "min": 0.5},
        {"group": "md5", "contender": "avx2", "at": 1000, "amount": 1e9, "unit": "bytes", "min": 0.25},
        {"group": "latency", "contender": "w", "at": 1, "amount": 1, "unit": "milliseconds", "min": 0.0071},
        {"group": "requests", "contender": "w", "at": "5", "amount": 5, "unit": "requests", "min": 0.02},
        {"group": "stages", "contender": "sign", "at": 100, "amount": 1, "unit": "nanoseconds", "min": 107e-9},
        {"group": "memory", "contender": "w", "at": 1, "amount": 1, "unit": "multiples", "min": 1.3},
        {"group": "cold start", "contender": "bare Python", "at": 1, "amount": 1, "unit": "starts", "min": 0.025},
        *(
            {
                "group": "beside a busy thread, hash keys: 9 keys",
                "contender": contender,
                "peer": contender == "hashlib",
                "at": at,
                "amount": 9,
                "unit": "keys",
                "min": 1e-6,  # luck
                "median": median,
            }
            for contender, at, median in (
                ("hash_keys", "alone", 0.002),
                ("hash_keys", "beside a busy thread", 0.003),
                ("hashlib", "alone", 0.06),
                ("hashlib", "beside a busy thread", 0.15),
            )
        ),
        {"group": "add", "contender": "aiokpl", "at": "flights", "amount": 5_000, "unit": "user records", "min": 1.0},
    ],
}


@pytest.mark.parametrize("section", ["readme_section", "docs_section"])
def test_sections_are_generated_in_place(report, section):
    made = getattr(report, section)(RESULTS)
    page = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"
    once = report.replace_section(page, made)
    assert report.replace_section(once, made) == once
    assert once == f"before\n{report.BEGIN}\n{made}\n{report.END}\nafter\n"
    assert "A CPU" in made
    assert "SHA-256 of OpenSSL 9, sha_ni" in made
    assert "abc1234" in made
    assert "2025-01-02" in made


def test_starts_are_told_in_milliseconds(report):
    lines = report.docs_section(RESULTS).splitlines()
    assert "**Cold start**, milliseconds, the fastest; fewer is better" in lines
    assert "| bare Python | 25 |" in lines


def test_latency_is_told_in_milliseconds_and_memory_as_a_multiple(report):
    lines = report.docs_section(RESULTS).splitlines()
    assert lines[lines.index("**Latency**, milliseconds; fewer is better") + 4] == "| w | 7.1 |"
    assert lines[lines.index("**Memory**, fewer is better") + 4] == "| w | 1.3 |"


def test_requests_are_told_in_milliseconds_and_stages_in_nanoseconds(report):
    lines = report.docs_section(RESULTS).splitlines()
    of_requests = lines.index("**Requests**, milliseconds of processor time per request; fewer is better")
    assert lines[of_requests + 4] == "| w | 4.0 |"
    assert lines[lines.index("**Stages**, nanoseconds per user record; fewer is better") + 4] == "| sign | 107 |"


def test_calls_beside_a_busy_thread_are_told_in_their_time_alone_and_beside_their_peers(report):
    lines = report.docs_section(RESULTS).splitlines()
    at = lines.index("**Beside a busy thread, hash keys: 9 keys**, milliseconds, the median; fewer is better")
    assert lines[at + 2 : at + 7] == [
        "| | alone | beside a busy thread | takes | times as fast there as hashlib |",
        "|---|---:|---:|---:|---:|",
        "| hash_keys | 2.0 | 3.0 | 1.5× | 50× |",  # noqa: RUF001
        "| hashlib | 60 | 150 | 2.5× | – |",  # noqa: RUF001
        "",
    ]


def test_table_has_what_was_measured(report):
    table = [line for line in report.readme_section(RESULTS).splitlines() if line.startswith("|")]
    assert table[2:] == [
        "| `add_many`, 100 B | 8.0 M/s | `aws_kinesis_agg` | 0.20 M/s | **40×** (39 to 42) |",  # noqa: RUF001
        "| `add_many`, 1 KiB | 2.0 GB/s | memcpy + MD5 | 6.0 GB/s | **33%** (30% to 36%) |",
        "| …, 100 B | 4.0 M/s | alone | 8.0 M/s | **0.50×** (0.49 to 0.51) |",  # noqa: RUF001
    ]


def test_of_several_runs_the_fastest_counts(report):
    def suite(*seconds):
        return {
            "benchmarks": [
                {
                    "fullname": f"b{i}",
                    "group": "g",
                    "extra_info": {"contender": "w"},
                    "stats": dict.fromkeys(STATS, took),
                }
                for i, took in enumerate(seconds)
            ]
        }

    assert [found["min"] for found in report.fastest([suite(1.0, 2.0), suite(3.0, 0.5)])] == [1.0, 0.5]


def test_page_without_markers_is_refused(report):
    with pytest.raises(ValueError, match="bench:begin"):
        report.replace_section("nothing", "new")


# --- is it slower? ---


def pairs(*ratios: float, row: str = "aggregate"):
    return [({row: 0.002}, {row: 0.002 * ratio}) for ratio in ratios]


@pytest.mark.parametrize(
    ("ratios", "slower"),
    [
        ((1.0,) * 9, False),
        ((0.8, 1.3, 0.9, 1.25, 1.0, 1.4, 0.85, 1.2, 1.05), False),  # a noisy machine
        ((1.0, 1.0, 1.01, 0.99, 1.0, 5.0, 6.0, 1.0, 0.98), False),  # somebody else, for two pairs
        ((1.08, 1.09, 1.07, 1.09, 1.08, 1.09, 1.08, 1.09, 1.08), False),  # slower, but allowed
        ((1.2, 1.19, 1.22, 1.21, 1.2, 1.18, 1.2, 1.23, 1.2), True),
        ((1.5, 1.2, 1.9, 1.3, 1.4, 1.05, 1.6, 1.3, 1.45), True),  # clear through the noise
        ((0.5,) * 9, False),
    ],
)
def test_only_what_is_clear_of_the_noise_is_a_regression(compare, ratios, slower):
    (verdict,) = compare.judge(pairs(*ratios), 0.10)
    assert verdict.slower is slower
    assert ("SLOWER" in str(verdict)) is slower
    assert verdict.low <= verdict.median <= verdict.high


def test_tolerance_decides(compare):
    (strict,) = compare.judge(pairs(*(1.08,) * 7), 0.05)
    (lenient,) = compare.judge(pairs(*(1.08,) * 7), 0.10)
    assert strict.slower
    assert not lenient.slower
    assert compare.judge(pairs(*(0.5,) * 7), 0.10)[0].faster


def test_rows_that_a_revision_lacks_are_left_out(compare):
    measured = [({"md5": 1.0}, {"md5": 1.0, "deaggregate-columns": 1.0})] * 7
    assert [verdict.row for verdict in compare.judge(measured, 0.1)] == ["md5"]
