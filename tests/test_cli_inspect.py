"""`shardpack inspect`: every form in which Kinesis records are saved or copied, and what is told of them."""

from __future__ import annotations

import base64
import io
import json
import sys
from types import SimpleNamespace

import pytest
import wire
from lambda_events import VECTORS, event_of
from test_compressed_reading import compressed

from shardpack import Aggregator, ShardMap
from shardpack.cli import app, inspected
from shardpack.cli.inspect import Form
from shardpack.cli.inspect import inspect as inspect_command

BLOB = bytes.fromhex(VECTORS["kpl/keys-0"]["blob"])
MALFORMED = bytes.fromhex(VECTORS["malformed/pk-index-out-of-range"]["blob"])
SMALL = wire.aggregate([("a", b"one", None), ("b", b"two", None)])


def b64(data):
    return base64.b64encode(data).decode()


@pytest.fixture
def inspect(monkeypatch, capfd):
    """Run the command in this process; returns its exit code, and what it printed on both streams."""

    def inspect(content, *options, file="-", columns=100):
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setattr(sys, "argv", ["shardpack", "inspect", str(file), *options])
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))
        exit_code = 0
        try:
            app.run()
        except SystemExit as end:
            exit_code = int(end.code or 0)
        sys.stdout.flush()
        told = capfd.readouterr()
        return exit_code, told.out, told.err

    return inspect


@pytest.fixture
def found(inspect):
    """Run it with --json; returns its exit code, and the object."""

    def found(content, *options):
        exit_code, out, err = inspect(content, "--json", *options)
        assert err == ""
        assert out.count("\n") == 1
        return exit_code, json.loads(out)

    return found


# --- one record ---


@pytest.mark.parametrize("vector", VECTORS.values(), ids=VECTORS)
def test_agrees_with_the_vectors(vector, tmp_path, capsysbinary):
    blob = bytes.fromhex(vector["blob"])
    file = tmp_path / "blob"
    file.write_bytes(blob)
    exit_code = 0
    try:
        inspect_command.callback(str(file), as_json=True, form=Form.RAW)
    except SystemExit as end:
        exit_code = end.code
    found = json.loads(capsysbinary.readouterr().out)
    expect = vector["expect"]
    assert found["size"] == len(blob)
    assert found["well_formed"] is (expect["kind"] == "records")
    assert exit_code == (0 if expect["kind"] == "records" else 1)
    if expect["kind"] == "records":
        records = [
            [
                record["partition_key"],
                record["explicit_hash_key"],
                (record["data"].encode() if "data" in record else base64.b64decode(record["data_base64"])).hex(),
                record.get("tags", []),
            ]
            for record in found["records"]
        ]
        assert records == expect["records"]
    elif expect["kind"] == "malformed":
        assert isinstance(found["error_offset"], int)
        assert f"byte {found['error_offset']}" in found["reason"]
    else:
        assert found["reason"].startswith("no aggregated record: ")


TEXT = base64.b64encode(BLOB)


@pytest.mark.parametrize(
    ("content", "form"),
    [
        (BLOB, "raw"),
        (TEXT, "base64"),
        (b"\n".join(TEXT[i : i + 76] for i in range(0, len(TEXT), 76)) + b"\n", "base64"),
        (b'"' + TEXT + b'"\n', "base64"),
        (b"\xef\xbb\xbf" + TEXT, "base64"),
        (BLOB.hex().encode(), "hex"),
        (BLOB.hex(" ").upper().encode(), "hex"),
        (json.dumps({"Data": b64(BLOB)}).encode(), "json"),
    ],
)
def test_one_record_in_every_form(found, content, form):
    exit_code, told = found(content)
    assert (exit_code, told["read_as"], told["size"]) == (0, form, len(BLOB))
    assert found(content, "--format", form) == (exit_code, told)
    assert found(content, "--record", "0") == (exit_code, told)


def test_a_file(inspect, tmp_path):
    file = tmp_path / "record.bin"
    file.write_bytes(BLOB)
    exit_code, out, err = inspect(b"", file=file)
    assert (exit_code, err) == (0, "")
    assert f"{len(BLOB):,} bytes (read as raw)" in out
    assert "--all shows them" in out
    assert out.splitlines()[-1].startswith("A well-formed aggregated record of ")
    assert "--all shows them" not in inspect(b"", "--all", file=file)[1]


@pytest.mark.parametrize(
    ("blob", "says"),
    [
        (b"", "does not start with the magic"),
        (b'{"a":1}', "does not start with the magic"),
        (b"\xf3\x89\x9a\xc2" + bytes(16), "too short"),
        (b"\xf3\x89\x9a\xc2" + bytes(40), "the digest differs"),
    ],
)
def test_says_plainly_what_is_no_aggregate(inspect, blob, says):
    exit_code, out, _ = inspect(blob, "--format", "raw")
    assert exit_code == 1
    assert says in " ".join(out.split())


def test_shows_hostile_text_as_text(inspect):
    aggregator = Aggregator(ShardMap.uniform(1))
    aggregator.add("[bold]key[/bold]\x1b[31m\\", b"[red]\x1b]0;title\x07\n")
    aggregator.add("[/]", b"\\[x]")
    (record,) = aggregator.flush()
    kinesis_record = {"Data": b64(record.data), "PartitionKey": "[/red]\x1b[2J"}
    for content, count in ((record.data, 1), (json.dumps([kinesis_record]).encode(), 2)):
        exit_code, out, err = inspect(content, columns=160)
        assert (exit_code, err) == (0, "")
        assert "[bold]key[/bold]\\x1b[31m\\" in out
        assert "[red]\\x1b]0;title\\x07\\n" in out
        assert "\\[x]" in out
        assert "\x1b" not in out
        assert out.count("[/red]\\x1b[2J") == (0 if count == 1 else 2)


# --- several ---

LAMBDA = event_of(SMALL, b"plain", MALFORMED)
GET_RECORDS = {  # as aws kinesis get-records prints it: AWS CLI reference, "get-records"
    "Records": [
        {
            "Data": b64(data),
            "PartitionKey": "partitionKey-03",
            "ApproximateArrivalTimestamp": "2016-03-25T10:04:15.870000-07:00",
            "SequenceNumber": "49544985256907370027570885864065577703022652638596431874",
        }
        for data in (SMALL, b"plain", MALFORMED)
    ],
    "NextShardIterator": "AAAAAAAAAAE=",
    "MillisBehindLatest": 0,
}
RECORDS = GET_RECORDS["Records"]
FIREHOSE = {
    "invocationId": "invoked123",
    "records": [
        {"recordId": f"record{i}", "data": b64(data), "approximateArrivalTimestamp": 1607495475000}
        for i, data in enumerate((SMALL, b"plain", MALFORMED))
    ],
}
PIPE = [{**record["kinesis"], "eventSource": "aws:kinesis"} for record in LAMBDA["Records"]]
QUEUE = {"QueueRecords": [{**record, "RecordId": "id", "ReceiptHandle": "receipt"} for record in RECORDS]}


def text_of(*documents, indent=None):
    return "\n".join(json.dumps(document, indent=indent) for document in documents).encode()


@pytest.mark.parametrize(
    "content",
    [
        text_of(LAMBDA),
        text_of(LAMBDA, indent=2),
        text_of(LAMBDA["Records"]),
        text_of(*LAMBDA["Records"]),
        text_of(GET_RECORDS),
        text_of(RECORDS),
        text_of(*RECORDS) + b"\n\n",
        text_of(*RECORDS, indent=2),
        text_of({"Records": RECORDS[:1]}, {"Records": RECORDS[1:]}),
        text_of([{"Records": RECORDS[:1]}, *RECORDS[1:]]),
        text_of({"SubscribeToShardEvent": {"Records": RECORDS, "MillisBehindLatest": 0}}),
        text_of({"Records": RECORDS, "ContinuationSequenceNumber": "1"}),
        text_of(FIREHOSE),
        text_of(PIPE),
        text_of(QUEUE),
        text_of([b64(SMALL), b64(b"plain"), b64(MALFORMED)]),
        b"\xef\xbb\xbf" + text_of(GET_RECORDS),
    ],
)
def test_many_records_in_every_shape(found, content):
    exit_code, told = found(content)
    assert (exit_code, told["read_as"]) == (1, "json")
    first, second, third = told["kinesis_records"]
    assert [record["data"] for record in first["records"]] == ["one", "two"]
    assert (first["well_formed"], second["well_formed"], third["well_formed"]) == (True, False, False)
    assert second["size"] == len(b"plain")
    assert isinstance(third["error_offset"], int)
    assert found(content, "--record", "0") == (0, {"read_as": "json", **first})
    assert found(content, "--record", "2") == (1, {"read_as": "json", **third})


def test_what_a_kinesis_record_says_of_itself(found):
    record = LAMBDA["Records"][0]
    [told, *_] = found(text_of(LAMBDA))[1]["kinesis_records"]
    assert told["sequence_number"] == record["kinesis"]["sequenceNumber"]
    assert told["partition_key"] == record["kinesis"]["partitionKey"]
    assert told["shard_id"] == "shardId-000000000006"
    assert found(text_of(FIREHOSE), "--record", "1")[1]["record_id"] == "record1"
    assert "sequence_number" not in found(SMALL)[1]


@pytest.mark.parametrize("between", [b"\n", b"\t", b'"\n"'])
def test_several_texts_of_base64(found, between):
    """As ``--query 'Records[].Data' --output text`` prints them."""
    text = b64(SMALL).encode()
    told = found(text + between + text)[1]
    assert [record["size"] for record in told["kinesis_records"]] == [len(SMALL)] * 2
    assert told["read_as"] == "base64"


def test_a_summary_first_then_each(inspect):
    exit_code, out, err = inspect(text_of(GET_RECORDS))
    assert (exit_code, err) == (1, "")
    lines = out.splitlines()
    assert lines[0].strip() == "Kinesis records: 3 (read as json)"
    assert lines[2].split() == ["0", "partitionKey-03", str(len(SMALL)), "2", "well-formed"]
    assert lines[3].split()[:4] == ["1", "partitionKey-03", "5", "0"]
    assert [line for line in lines if line.startswith("Kinesis record ")] == [f"Kinesis record {i}" for i in range(3)]
    assert out.count("sequence number") == 3
    assert lines[-1] == "1 of 3 are well-formed aggregated records."
    exit_code, out, _ = inspect(text_of(GET_RECORDS), "--record", "0")
    assert exit_code == 0
    assert "Kinesis records:" not in out
    assert out.splitlines()[-1] == "A well-formed aggregated record of 2 user records."


def test_not_all_of_very_many_are_shown(inspect):
    content = text_of([b64(SMALL)] * 25)
    exit_code, out, _ = inspect(content)
    assert exit_code == 0
    assert out.count("\nKinesis record ") == 20
    assert "… and 5 more: --all shows them; --record N shows one" in out
    assert out.splitlines()[-1] == "25 of 25 are well-formed aggregated records."
    assert inspect(content, "--all")[1].count("\nKinesis record ") == 25


# --- what is refused ---

RAW = "--format raw takes it for the data of one record"


@pytest.mark.parametrize(
    ("content", "options", "says"),
    [
        (b"xyz", ["--format", "hex"], "not hex: "),
        (b"xyz", ["--format", "base64"], "; --format takes auto, raw, base64, hex, json"),
        (b"", ["--format", "json"], "no JSON: nothing is there"),
        (b"xyz", ["--format", "json"], "begins as JSON does, and is none"),
        (b'{"Records": [', [], f"begins as JSON does, and is none: Expecting value: line 1 column 14 (char 13); {RAW}"),
        (b'{"a": "\xff"}', [], "begins as JSON does, and is none"),
        (b"[" * 100_000, [], "nested too deeply"),
        (b'{"id": 1}', [], "JSON with ['id'], not the event of a Lambda function, a Firehose transformation or"),
        (text_of(RECORDS[0], {"id": 1}), [], "document 1: JSON with ['id'], not"),
        (b"[1]", [], "JSON, but not the event of a Lambda function"),
        (b"[{}]", [], "cannot deaggregate a mapping with []"),
        (b'{"Records": {}}', [], "Records has no list of records"),
        (b'{"SubscribeToShardEvent": 1}', [], "SubscribeToShardEvent has no list of records"),
        (b'{"Records": [{"Data": 5}]}', [], "Data of a record of the API is bytes, not int"),
        (b'{"Records": [{"Data": "?"}]}', [], "record 0: Data is not base64: "),
        (b'["?"]', [], "record 0: text is not base64: "),
        (b'{"Records": [{"kinesis": {"data": "?"}}]}', [], "data of a record in an event is not base64"),
        (text_of(GET_RECORDS), ["--record", "3"], "no record 3: it has 3, and the first one is 0"),
    ],
)
def test_bad_input_is_told(inspect, content, options, says):
    exit_code, out, err = inspect(content, *options)
    assert (exit_code, out) == (2, "")
    assert err.startswith("shardpack: standard input: ")
    assert err.count("\n") == 1
    assert says in err


def test_no_records(inspect):
    for content in (b'{"Records": []}', b"[]"):
        assert inspect(content) == (1, "", "shardpack: standard input: no Kinesis records are in it\n")


def test_files_that_cannot_be_read(inspect, tmp_path):
    says = "no such file; FILE is a file of raw bytes, base64 or hex text, or JSON, or - for standard input"
    assert inspect(b"", file="nosuch") == (2, "", f"shardpack: nosuch: {says}\n")
    assert inspect(b"", file=tmp_path) == (2, "", f"shardpack: {tmp_path}: Is a directory\n")


def test_input_has_a_bound(inspect, monkeypatch, tmp_path):
    assert inspected.MAX_INPUT_BYTES == 64 * 1024**2
    monkeypatch.setattr(inspected, "MAX_INPUT_BYTES", len(SMALL))
    file = tmp_path / "record"
    for extra, exit_code in ((b"", 0), (b"x", 2)):
        file.write_bytes(SMALL + extra)
        for told in (inspect(SMALL + extra), inspect(b"", file=file)):
            assert told[0] == exit_code
            assert ("larger than" in told[2]) is bool(extra)


def test_records_have_a_bound(inspect, monkeypatch):
    monkeypatch.setattr(inspected, "MAX_RECORDS", 3)
    for documents in ([GET_RECORDS], [RECORDS], RECORDS, [[GET_RECORDS]]):
        assert inspect(text_of(*documents))[0] == 1
    for documents in ([{"Records": [RECORDS[0]] * 4}], [RECORDS + RECORDS], RECORDS * 2, [[GET_RECORDS] * 2]):
        exit_code, out, err = inspect(text_of(*documents))
        assert (exit_code, out) == (2, "")
        assert err == "shardpack: standard input: more than 3 Kinesis records; give fewer of them\n"


# --- compressed aggregates ---

COMPRESSED = compressed(SMALL[4:-16])


@pytest.mark.parametrize("content", [COMPRESSED, b64(COMPRESSED).encode(), COMPRESSED.hex().encode()])
def test_a_compressed_aggregate_is_taken_apart(inspect, content):
    code, out, _ = inspect(content)
    assert code == 0
    assert "F5 53 50 5A, right" in out
    assert f"zstd, {len(SMALL[4:-16]) / len(COMPRESSED):.1f} times smaller" in out
    assert f"message     {len(SMALL) - 20} bytes" in out
    assert "A well-formed aggregated record of 2 user records." in out
    code, out, _ = inspect(content, "--json")
    told = json.loads(out)
    assert (code, told["well_formed"], told["compressed"], told["message_size"]) == (0, True, True, len(SMALL) - 20)
    assert told["overhead_size"] == len(SMALL) - 20 - 6
    assert [record["data"] for record in told["records"]] == ["one", "two"]


def test_what_is_wrong_with_a_compressed_aggregate_is_told(inspect):
    code, out, _ = inspect(COMPRESSED[:-1])
    assert code == 1
    assert "its zstd frame is cut off" in out
    code, out, _ = inspect(compressed(MALFORMED[4:-16]), "--json")
    told = json.loads(out)
    assert (code, told["well_formed"]) == (1, False)
    assert "of the message" in told["reason"]
    code, out, _ = inspect(compressed(b"\xff" * 9))
    assert code == 1
    assert "a field does not parse" in " ".join(out.split())
