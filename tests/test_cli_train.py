"""`shardpack train`: a dictionary of lines, and what it is worth."""

from __future__ import annotations

import gzip
import json
import sys

import pytest
from payloads import dictionary, event

from shardpack.cli import app
from shardpack.cli.train import AROUND_A_LINE, SAMPLE_BYTES, Sample
from shardpack.codec import DictionaryCodec, PayloadReader
from shardpack.testing import history

LINES = [event(i) for i in range(3_000)]


@pytest.fixture
def train(monkeypatch, capfd):
    """Run the command in this process; returns its exit code, and what it printed on both streams."""

    def train(*arguments):
        monkeypatch.setenv("COLUMNS", "100")
        monkeypatch.setattr(sys, "argv", ["shardpack", "train", *map(str, arguments)])
        exit_code = 0
        try:
            app.run()
        except SystemExit as end:
            exit_code = int(end.code or 0)
        told = capfd.readouterr()
        return exit_code, told.out, told.err

    return train


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "events.ndjson.gz"
    path.write_bytes(gzip.compress(b"\n\n".join(LINES) + b"\r\n"))
    return path


def test_it_makes_a_dictionary_that_is_worth_what_it_says(train, file, tmp_path):
    out = tmp_path / "telemetry.dict"
    out.write_bytes(b"the one before")
    code, told, error = train(file, "--out", out, "--size", "4KiB", "--id", 7, "--json")
    assert (code, error) == (0, "")
    found = json.loads(told)
    assert len(out.read_bytes()) == found["dictionary_bytes"] <= 4096
    assert (found["dictionary_id"], found["lines"], found["held_out"]) == (7, 3_000, 300)
    assert found["bytes_per_record"] == pytest.approx(sum(map(len, LINES)) / 3_000, rel=0.05)
    assert found["payload_bytes_per_record"] < found["gzip_bytes_per_record"] / 2
    payloads = DictionaryCodec(out).encode_many(LINES)
    assert [payload.data for payload in PayloadReader(tmp_path).read(payloads)] == LINES
    assert sorted(path.name for path in tmp_path.iterdir()) == ["events.ndjson.gz", "telemetry.dict"]


def test_it_says_so(train, file, tmp_path):
    code, told, error = train(file, file, "--out", tmp_path / "d", "--size", "4096")
    assert (code, error) == (0, "")
    assert "6,000; figures are of 600 that it was not trained with" in told
    assert "gzip" in told
    number = DictionaryCodec(tmp_path / "d").dictionary_id
    assert f"id {number}" in told


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{file}", "--out", "{none}/d"], "{none}/d: No such file or directory"),
        (["{none}", "--out", "{out}"], "{none}: No such file or directory"),
        (["{few}", "--out", "{out}"], "2 samples of 8 bytes make no dictionary of 65,536: "),
        (["{file}", "--out", "{out}", "--size", "100"], "size of 100 is not between 256 and 16,777,216"),
        (["{file}", "--out", "{out}", "--size", "4 KB"], "'4 KB' is no size: give bytes, or 64KiB or 1MiB"),
        (["{long}", "--out", "{out}"], "{long}: line 2 is longer than 10 MiB"),
        (["{file}"], "missing option '--out'"),
    ],
)
def test_what_it_cannot_do_is_told(train, file, tmp_path, arguments, said):
    names = {name: str(tmp_path / name) for name in ("none", "out", "few", "long")} | {"file": str(file)}
    tmp_path.joinpath("few").write_bytes(b"21.5\n21.6\n")
    with tmp_path.joinpath("long").open("wb") as long:
        long.write(b"a\n")
        long.truncate(11 << 20)
    code, _, error = train(*(argument.format(**names) for argument in arguments))
    assert code == 2
    assert said.format(**names) in error
    assert not tmp_path.joinpath("out").exists()


def test_put_and_tail_have_the_dictionary(shardpack, local_kinesis, client, tmp_path):
    local_kinesis.create_stream("trained", 2)
    lines, known = tmp_path / "lines", tmp_path / "known"
    lines.write_bytes(b"\n".join(LINES[:200]))
    known.mkdir()
    known.joinpath("one.dict").write_bytes(dictionary())
    done = shardpack("put", "trained", lines, "--key", "device", "--dictionary", known / "one.dict", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["stored"] == 200
    stored = [record for shard in history.read_all(client, "trained", kcl_rule=True) for record in shard.records]
    assert sum(len(record.data) for record in stored) < sum(map(len, LINES[:200])) / 2
    done = shardpack("tail", "trained", "--no-follow", "--json", "--dictionary", known)
    assert done.returncode == 0, done.stderr
    assert sorted(json.loads(line)["data"] for line in done.stdout.splitlines()) == sorted(
        line.decode() for line in LINES[:200]
    )
    known.joinpath("one.dict").write_bytes(dictionary(7))
    done = shardpack("tail", "trained", "--no-follow", "--json", "--dictionary", known, "--limit", "1")
    [found] = map(json.loads, done.stdout.splitlines())
    assert "the dictionary " in found["error"]
    assert found["data_base64"]
    for command, said in [
        (("put", "trained", lines, "--dictionary", lines), f"{lines}: no zstd dictionary"),
        (("put", "trained", lines, "--dictionary", tmp_path / "none"), "none: No such file"),
        (("put", "trained", "--parquet", lines, "--dictionary", lines), "--dictionary is for lines"),
        (("tail", "trained", "--dictionary", tmp_path / "none"), "none: No such file"),
    ]:
        done = shardpack(*command)
        assert done.returncode == 2
        assert said in done.stderr


def test_what_is_kept_is_bounded_and_of_the_whole_file():
    sample = Sample(100 * (200 + AROUND_A_LINE))
    for i in range(10_000):
        sample.take(b"%0200d" % i)
        assert sample._bytes <= 100 * (200 + AROUND_A_LINE)
    kept = [int(line) for line in sample.chosen()]
    assert (sample.number, len(kept), len(set(kept))) == (10_000, 100, 100)
    assert sum(each < 5_000 for each in kept) in range(30, 71)
    assert SAMPLE_BYTES == 32 << 20


def test_lines_of_all_sizes_stay_within_the_bound():
    sample = Sample(10_000)
    for i in range(3_000):
        sample.take(bytes(1 + i * 7 % 3_000))
        assert sample._bytes <= 10_000
        assert sample._bytes == sum(len(line) + AROUND_A_LINE for _, line in sample._kept)


def test_the_same_lines_make_the_same_dictionary(train, file, tmp_path):
    for name in ("one", "two"):
        assert train(file, "--out", tmp_path / name, "--size", "4KiB")[0] == 0
    assert tmp_path.joinpath("one").read_bytes() == tmp_path.joinpath("two").read_bytes() != dictionary()
