"""The Kinesis that fails as told: what a client sees of each fault, and what is stored then."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError, ConnectionClosedError, ReadTimeoutError

from shardpack import Boto3Transport, KinesisRecord, ShardMap, hash_key
from shardpack.testing import FaultProxy
from shardpack.testing.faults import (
    Cut,
    Error,
    Latency,
    RefuseEntries,
    Request,
    Reset,
    Script,
    ShardLimits,
    StaleShards,
    Trickle,
)
from shardpack.testing.local_kinesis import wait_until_active
from shardpack.transport import BrokenAnswerError

THROTTLED = "ProvisionedThroughputExceededException"
STREAM_NUMBERS = count(1)


class Clock:
    """Time that passes when told."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def proxied(local_kinesis, clock) -> Iterator[SimpleNamespace]:
    """A stream of two shards behind a proxy without faults, and a client that does not try again."""
    stream = f"proxied-{next(STREAM_NUMBERS)}"
    local_kinesis.create_stream(stream, 2)
    with FaultProxy(local_kinesis.endpoint_url, seed=1, clock=clock) as proxy:
        yield SimpleNamespace(proxy=proxy, client=proxy.client(), stream=stream, direct=local_kinesis.client())


def put_records(proxied: SimpleNamespace, datas: list[bytes], **entry: Any) -> dict[str, Any]:
    entries = [{"PartitionKey": f"key-{i}", "Data": data, **entry} for i, data in enumerate(datas)]
    return proxied.client.put_records(StreamName=proxied.stream, Records=entries)


def stored(proxied: SimpleNamespace) -> dict[bytes, tuple[str, str]]:
    """What the stream holds, read past the proxy: shard and sequence number of every data."""
    client, found = proxied.direct, {}
    for shard in client.list_shards(StreamName=proxied.stream)["Shards"]:
        iterator = client.get_shard_iterator(
            StreamName=proxied.stream, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        while iterator:
            response = client.get_records(ShardIterator=iterator)
            for record in response["Records"]:
                found[record["Data"]] = (shard["ShardId"], record["SequenceNumber"])
            iterator = response.get("NextShardIterator") if response["Records"] else None
    return found


def split_first(proxied: SimpleNamespace) -> None:
    first = next(iter(Boto3Transport(proxied.direct, proxied.stream).list_shards()))
    middle = (first.starting_hash_key + first.ending_hash_key) // 2
    proxied.direct.split_shard(
        StreamName=proxied.stream, ShardToSplit=first.shard_id, NewStartingHashKey=str(middle + 1)
    )
    wait_until_active(proxied.direct, proxied.stream)


DATAS = [f"data {i}".encode() for i in range(8)]


# --- without faults ---


def test_without_faults_it_is_not_noticed(proxied):
    response = put_records(proxied, DATAS)
    assert response["FailedRecordCount"] == 0
    assert {
        data: (result["ShardId"], result["SequenceNumber"])
        for data, result in zip(DATAS, response["Records"], strict=True)
    } == stored(proxied)
    shards = proxied.client.list_shards(StreamName=proxied.stream)
    assert shards["Shards"] == proxied.direct.list_shards(StreamName=proxied.stream)["Shards"]
    with pytest.raises(proxied.client.exceptions.ResourceNotFoundException, match="nowhere"):
        proxied.client.list_shards(StreamName="nowhere")
    assert proxied.proxy.injected == Counter()
    assert proxied.proxy.requests == {"PutRecords": 1, "ListShards": 2}
    assert proxied.proxy.unanswered(proxied.stream) == set()


def test_connections_are_kept(proxied):
    host, port = proxied.proxy.endpoint_url.removeprefix("http://").split(":")
    body = json.dumps({"StreamName": proxied.stream}).encode()
    call = (
        b"POST / HTTP/1.1\r\nHost: local\r\nX-Amz-Target: Kinesis_20131202.ListShards\r\nExpect: 100-continue\r\n"
        b"Content-Type: application/x-amz-json-1.1\r\n"
        b"Authorization: AWS4-HMAC-SHA256 Credential=local/20250101/us-east-1/kinesis/aws4_request, "
        b"SignedHeaders=host, Signature=0\r\nX-Amz-Date: 20250101T000000Z\r\n"
    )
    with socket.create_connection((host, int(port)), timeout=20) as connection, connection.makefile("rb") as answers:
        for _ in range(3):
            connection.sendall(call + b"Content-Length: %d\r\n\r\n" % len(body))
            assert answers.readline() == b"HTTP/1.1 100 Continue\r\n"
            assert answers.readline() == b"\r\n"
            connection.sendall(body)
            assert answers.readline() == b"HTTP/1.1 200 OK\r\n"
            headers = dict(line.strip().lower().split(b": ") for line in iter(answers.readline, b"\r\n"))
            assert len(json.loads(answers.read(int(headers[b"content-length"])))["Shards"]) == 2
        connection.sendall(call + b"Content-Length: 99999999999\r\n\r\n")
        assert b"HTTP/1.1 413 " in answers.read()


@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_of_10_mib_pass_both_ways(chunked):
    data = bytes(range(256)) * (40 * 1024 - 1)
    bodies = []

    class Handler(BaseHTTPRequestHandler):  # the local Kinesis takes no record of more than 1 MiB
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            answer = json.dumps({"FailedRecordCount": 0, "Records": [{"ShardId": "s" * len(data)}]}).encode()
            self.send_response(200)
            self.send_header(*(("Transfer-Encoding", "Chunked") if chunked else ("Content-Length", str(len(answer)))))
            self.end_headers()
            if chunked:
                for start in range(0, len(answer), 1_000_000):
                    chunk = answer[start : start + 1_000_000]
                    self.wfile.write(b"%x;a=b\r\n%b\r\n" % (len(chunk), chunk))
                self.wfile.write(b"0\r\nTrailer: 1\r\n\r\n")
            else:
                self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        serving.start()
        with FaultProxy(f"http://127.0.0.1:{server.server_address[1]}", seed=1) as proxy:
            client = proxy.client()
            entries = [{"PartitionKey": "a", "Data": b"small"}, {"PartitionKey": "b", "Data": data}]
            for faults in ([RefuseEntries(positions=(0,))], []):
                proxy.faults = faults
                response = client.put_records(StreamName="large", Records=entries)
                assert response["Records"][-1]["ShardId"] == "s" * len(data)
            client.close()
        server.shutdown()
        serving.join()
    refused, whole = (body["Records"] for body in bodies if "Records" in body)
    assert [base64.b64decode(entry["Data"]) for entry in refused] == [data]
    assert [base64.b64decode(entry["Data"]) for entry in whole] == [b"small", data]


def test_many_threads_at_once(proxied):
    proxied.proxy.faults = [Latency(0, 0.002), RefuseEntries(0.1)]
    stop = threading.Event()

    def switch() -> None:
        while not stop.is_set():
            faults = proxied.proxy.faults
            proxied.proxy.faults = [*faults[1:], faults[0]]
            assert proxied.proxy.injected.total() >= 0

    def put(i: int) -> list[bytes]:
        datas = [f"{i} {j}".encode() for j in range(10)]
        results = put_records(proxied, datas)["Records"]
        return [data for data, result in zip(datas, results, strict=True) if "ErrorCode" not in result]

    switching = threading.Thread(target=switch)
    switching.start()
    with ThreadPoolExecutor(16) as threads:
        accepted = [data for datas in threads.map(put, range(200)) for data in datas]
    stop.set()
    switching.join()
    assert stored(proxied).keys() == set(accepted)
    assert len(accepted) + proxied.proxy.injected[f"entries {THROTTLED}"] == 2000
    assert proxied.proxy.requests["PutRecords"] == 200


# --- entries ---


@pytest.mark.parametrize("code", [THROTTLED, "InternalFailure"])
def test_some_entries_are_refused_and_not_stored(proxied, code):
    proxied.proxy.faults = [RefuseEntries(0.5, code)]
    datas = [f"data {i}".encode() for i in range(100)]
    response = put_records(proxied, datas)
    found = stored(proxied)
    refused = 0
    for data, result in zip(datas, response["Records"], strict=True):
        if data in found:
            assert (result["ShardId"], result["SequenceNumber"]) == found[data]
            assert "ErrorCode" not in result
        else:
            refused += 1
            assert result["ErrorCode"] == code
            assert result["ErrorMessage"]
            assert "SequenceNumber" not in result
    assert 20 < refused < 80
    assert response["FailedRecordCount"] == refused == proxied.proxy.injected[f"entries {code}"]


def test_named_entries_are_refused(proxied):
    proxied.proxy.faults = [RefuseEntries(positions=(1, 7, 99)), RefuseEntries(1, "InternalFailure", (7, 3))]
    response = put_records(proxied, DATAS)
    codes = [result.get("ErrorCode") for result in response["Records"]]
    assert codes == [None, THROTTLED, None, "InternalFailure", None, None, None, THROTTLED]
    assert stored(proxied).keys() == {data for data, code in zip(DATAS, codes, strict=True) if code is None}
    assert proxied.proxy.injected == {f"entries {THROTTLED}": 2, "entries InternalFailure": 1}
    shard_map = ShardMap.from_shards(proxied.direct.list_shards(StreamName=proxied.stream))
    shard = shard_map[shard_map.index_of(hash_key("key-1"))].shard_id
    assert f"shard {shard} in stream {proxied.stream}" in response["Records"][1]["ErrorMessage"]


def test_all_entries_are_refused(proxied):
    proxied.proxy.faults = [RefuseEntries()]
    response = put_records(proxied, DATAS)
    assert response["FailedRecordCount"] == 8
    assert {result["ErrorCode"] for result in response["Records"]} == {THROTTLED}
    assert stored(proxied) == {}


def test_a_request_of_too_many_entries_stays_one(proxied):
    proxied.proxy.faults = [RefuseEntries(0.5)]
    with pytest.raises(ClientError, match="500"):
        put_records(proxied, [b"x"] * 501)
    assert stored(proxied) == {}
    assert proxied.proxy.injected == Counter()


def test_the_others_errors_are_the_services(proxied):
    proxied.proxy.faults = [RefuseEntries(positions=(0,))]
    proxied.stream = "nowhere"
    with pytest.raises(proxied.client.exceptions.ResourceNotFoundException):
        put_records(proxied, DATAS)


# --- shards' limits ---


def test_each_shard_takes_so_many_records(proxied, clock):
    proxied.proxy.faults = [ShardLimits(records_per_s=4, bytes_per_s=10_000)]
    low = [{"PartitionKey": "k", "Data": b"low %d" % i, "ExplicitHashKey": "0"} for i in range(6)]
    high = [{"PartitionKey": "k", "Data": b"high %d" % i, "ExplicitHashKey": str(2**128 - 1)} for i in range(3)]

    def accepted(entries: list[dict[str, Any]]) -> list[bool]:
        response = proxied.client.put_records(StreamName=proxied.stream, Records=entries)
        codes = [result.get("ErrorCode") for result in response["Records"]]
        assert set(codes) <= {None, THROTTLED}
        assert response["FailedRecordCount"] == codes.count(THROTTLED)
        return [code is None for code in codes]

    assert accepted([*low, *high]) == [True] * 4 + [False] * 2 + [True] * 3
    assert stored(proxied).keys() == {b"low 0", b"low 1", b"low 2", b"low 3", b"high 0", b"high 1", b"high 2"}
    assert accepted(low) == [False] * 6
    clock.now += 0.5
    assert accepted(low) == [True] * 2 + [False] * 4
    clock.now += 1000
    assert accepted(low) == [True] * 4 + [False] * 2
    assert proxied.proxy.injected == {"shard limit": 2 + 6 + 4 + 2}
    with pytest.raises(proxied.client.exceptions.ProvisionedThroughputExceededException, match="shardId-000000000000"):
        proxied.client.put_record(StreamName=proxied.stream, PartitionKey="k", Data=b"one", ExplicitHashKey="0")
    assert b"one" not in stored(proxied)


def test_each_shard_takes_so_many_bytes(proxied, clock):
    proxied.proxy.faults = [ShardLimits(records_per_s=1000, bytes_per_s=1000)]

    def accepted(*sizes: int) -> list[bool]:
        response = put_records(proxied, [bytes(size) for size in sizes], PartitionKey="é", ExplicitHashKey="0")
        return ["ErrorCode" not in result for result in response["Records"]]

    assert accepted(498, 499, 0, 0) == [True, False, True, True]  # 2 bytes of key each: 500 + 2 + 2
    assert accepted(495, 494) == [False, True]
    clock.now += 1
    assert accepted(5000) == [True]  # larger than the bucket: goes from a full one
    clock.now += 4
    assert accepted(0) == [False]  # 1,000 - 5,002 + 4,000: below 0
    clock.now += 0.01
    assert accepted(0) == [True]


def test_limits_follow_resharding(proxied, clock):
    proxied.proxy.faults = [ShardLimits(records_per_s=4)]
    keys = [0, 2**126, 2**127 - 1, 2**128 - 1]

    def accepted() -> int:
        entries = [{"PartitionKey": "k", "Data": b"x", "ExplicitHashKey": str(key)} for key in keys for _ in range(3)]
        response = proxied.client.put_records(StreamName=proxied.stream, Records=entries)
        return len(entries) - response["FailedRecordCount"]

    assert accepted() == 4 + 3
    split_first(proxied)
    clock.now += 1
    assert accepted() == 4 + 3  # by the old shards; the answer names the new ones
    clock.now += 1
    assert accepted() == 3 + 4 + 3


# --- time ---


def test_answers_are_late(proxied):
    client = proxied.proxy.client(read_timeout=0.2)
    proxied.proxy.faults = [Latency(1000)]
    with pytest.raises(ReadTimeoutError):
        client.put_records(StreamName=proxied.stream, Records=[{"PartitionKey": "k", "Data": b"before"}])
    assert stored(proxied) == {}
    proxied.proxy.faults = [Latency(1.5, when="after")]
    with pytest.raises(ReadTimeoutError):
        client.put_records(StreamName=proxied.stream, Records=[{"PartitionKey": "k", "Data": b"after"}])
    while not proxied.proxy.unanswered(proxied.stream):  # until the proxy has noticed that nobody waits
        time.sleep(0.01)
    found = stored(proxied)
    assert found.keys() == {b"after"}
    assert proxied.proxy.unanswered(proxied.stream) == set(found.values())
    assert proxied.proxy.injected == {"latency before": 1, "latency after": 1}


# --- connections ---


def test_a_reset_before_leaves_nothing_and_one_after_leaves_all(proxied):
    proxied.proxy.faults = [Script("PutRecords", [Reset(), Reset("after"), None])]
    with pytest.raises(ConnectionClosedError):
        put_records(proxied, [b"before"])
    assert stored(proxied) == {}
    with pytest.raises(ConnectionClosedError):
        put_records(proxied, [b"after", b"too"])
    found = stored(proxied)
    assert found.keys() == {b"after", b"too"}
    assert proxied.proxy.unanswered(proxied.stream) == set(found.values())
    put_records(proxied, [b"answered"])
    assert proxied.proxy.unanswered(proxied.stream) == set(found.values())
    assert proxied.proxy.injected == {"reset before": 1, "reset after": 1}


def test_a_reset_is_one_for_the_socket(proxied):
    proxied.proxy.faults = [Reset()]
    host, port = proxied.proxy.endpoint_url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            connection.recv(1)


@pytest.mark.parametrize("at", [0.0, 0.5, 0.99])
def test_an_answer_ends_half_way(proxied, at):
    proxied.proxy.faults = [Cut(at, operations="PutRecords")]
    records = [KinesisRecord("k", None, data, 0, 1, len(data) + 1) for data in DATAS]
    with pytest.raises((BrokenAnswerError, BotoCoreError)):
        Boto3Transport(proxied.client, proxied.stream).put_records(records)
    found = stored(proxied)
    assert found.keys() == set(DATAS)
    assert proxied.proxy.unanswered(proxied.stream) == set(found.values())
    assert proxied.proxy.injected == {"cut": 1}
    assert len(proxied.client.list_shards(StreamName=proxied.stream)["Shards"]) == 2


def test_an_answer_trickles(proxied):
    """A client that waits for each piece as long as it takes has all of it; one that does not has given up."""
    proxied.client = proxied.proxy.client(read_timeout=1)
    proxied.proxy.faults = [Trickle(1.6, 16, operations="PutRecords")]
    put_records(proxied, DATAS)
    assert proxied.proxy.unanswered(proxied.stream) == set()
    proxied.proxy.faults = [Trickle(60, 2, operations="PutRecords")]
    with pytest.raises(ReadTimeoutError):
        put_records(proxied, DATAS)
    assert len(proxied.client.list_shards(StreamName=proxied.stream)["Shards"]) == 2
    assert proxied.proxy.injected == {"trickle": 2}


# --- errors ---


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("code", "status"), [("InternalFailure", 500), ("ServiceUnavailable", 503)])
def test_the_service_fails(proxied, when, code, status):
    proxied.proxy.faults = [Error(code, when)]
    with pytest.raises(ClientError) as caught:
        put_records(proxied, DATAS)
    assert caught.value.response["Error"]["Code"] == code
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
    found = stored(proxied)
    assert found.keys() == (set(DATAS) if when == "after" else set())
    assert proxied.proxy.unanswered(proxied.stream) == set(found.values())
    assert proxied.proxy.injected == {f"{code} {when}": 1}


@pytest.mark.parametrize(
    "code",
    [
        "AccessDeniedException",
        "ExpiredIteratorException",
        "ExpiredNextTokenException",
        "KMSThrottlingException",
        "LimitExceededException",
        "ProvisionedThroughputExceededException",
        "ResourceInUseException",
        "ResourceNotFoundException",
    ],
)
def test_errors_are_the_services_exceptions(proxied, code):
    proxied.proxy.faults = [Error(code)]
    with pytest.raises(getattr(proxied.client.exceptions, code)) as caught:
        put_records(proxied, DATAS)
    assert type(caught.value).__name__ == code
    assert caught.value.response["Error"]["Code"] == code
    assert caught.value.response["Error"]["Message"]
    metadata = caught.value.response["ResponseMetadata"]
    assert metadata["HTTPStatusCode"] == 400
    assert metadata["HTTPHeaders"]["x-amzn-errortype"] == code
    assert metadata["HTTPHeaders"]["x-amzn-requestid"] == metadata["RequestId"]
    assert stored(proxied) == {}


def test_the_token_expires(proxied):
    proxied.proxy.faults = [Script("ListShards", [Error("ExpiredTokenException")])]
    with pytest.raises(ClientError, match="The security token included in the request is expired") as caught:
        proxied.client.list_shards(StreamName=proxied.stream)
    assert caught.value.response["Error"]["Code"] == "ExpiredTokenException"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    proxied.client.list_shards(StreamName=proxied.stream)


def test_an_error_of_ones_own(proxied):
    proxied.proxy.faults = [Error("TeapotException", status=418, message="short {and} stout")]
    with pytest.raises(ClientError, match=r"short \{and\} stout") as caught:
        proxied.client.list_streams()
    assert caught.value.response["Error"]["Code"] == "TeapotException"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 418


# --- ListShards ---


def test_shards_are_told_late(proxied, clock):
    def shard_count() -> int:
        return len(proxied.client.list_shards(StreamName=proxied.stream)["Shards"])

    assert shard_count() == 2
    split_first(proxied)
    proxied.proxy.faults = [StaleShards(5)]
    assert shard_count() == 2
    clock.now += 4.9
    assert shard_count() == 2
    assert proxied.proxy.injected == {"stale ListShards": 2}
    clock.now += 0.1
    assert shard_count() == 4
    assert proxied.proxy.injected == {"stale ListShards": 2}
    split_first(proxied)
    assert shard_count() == 4
    proxied.proxy.faults = []
    assert shard_count() == 6


# --- what decides ---


def test_one_seed_is_one_run(proxied, local_kinesis):
    faults = [
        Error(THROTTLED, probability=0.2, operations=("PutRecords", "GetRecords")),
        Reset("after", probability=0.2),
        RefuseEntries(0.3, probability=0.5),
    ]

    def outcomes(seed: int) -> list[object]:
        seen: list[object] = []
        with FaultProxy(local_kinesis.endpoint_url, seed=seed, faults=faults) as proxy:
            client = proxy.client()
            for _ in range(30):
                try:
                    response = client.put_records(
                        StreamName=proxied.stream, Records=[{"PartitionKey": "k", "Data": b"x"}] * 5
                    )
                    seen.append(tuple(result.get("ErrorCode") for result in response["Records"]))
                except (ClientError, ConnectionClosedError) as error:
                    seen.append(type(error).__name__)
            seen.append(sorted(proxy.injected.items()))
        return seen

    first = outcomes(1)
    assert outcomes(1) == first
    assert outcomes(2) != first
    assert {"ProvisionedThroughputExceededException", "ConnectionClosedError"} < set(first[:-1])


def test_a_schedule_reads_the_request(proxied):
    seen = []

    def schedule(request: Request) -> Error | None:
        seen.append((request.number, request.operation, request.stream, len(request.entries)))
        poison = any(entry["Data"] == "cG9pc29u" for entry in request.entries)
        return Error("ServiceUnavailable") if poison else None

    proxied.proxy.faults = [schedule]
    put_records(proxied, [b"food"])
    with pytest.raises(ClientError, match="ServiceUnavailable"):
        put_records(proxied, [b"food", b"poison"])
    arn = proxied.direct.describe_stream_summary(StreamName=proxied.stream)["StreamDescriptionSummary"]["StreamARN"]
    proxied.client.list_shards(StreamARN=arn)
    proxied.client.put_record(StreamARN=arn, PartitionKey="k", Data=b"food")
    stream = proxied.stream
    assert seen == [
        (1, "PutRecords", stream, 1),
        (2, "PutRecords", stream, 2),
        (3, "ListShards", stream, 0),
        (4, "PutRecord", stream, 1),
    ]


def test_a_script_is_met_in_turn(proxied):
    script = Script("ListShards", [None, Error(), Reset()])
    proxied.proxy.faults = [script]
    put_records(proxied, DATAS)
    proxied.client.list_shards(StreamName=proxied.stream)
    with pytest.raises(ClientError):
        proxied.client.list_shards(StreamName=proxied.stream)
    assert script.left == 1
    with pytest.raises(ConnectionClosedError):
        proxied.client.list_shards(StreamName=proxied.stream)
    assert script.left == 0
    proxied.client.list_shards(StreamName=proxied.stream)


def test_the_first_of_two_that_end_the_call_holds(proxied):
    proxied.proxy.faults = [Reset("after"), Error(THROTTLED), Error("InternalFailure"), RefuseEntries()]
    with pytest.raises(ClientError, match=THROTTLED):
        put_records(proxied, DATAS)
    assert stored(proxied) == {}
    assert proxied.proxy.injected == {f"{THROTTLED} before": 1}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Reset("during"), "when is 'before' or 'after', not 'during'"),
        (lambda: Reset(probability=1.5), "probability is from 0 to 1, not 1.5"),
        (lambda: RefuseEntries(-1), "share is from 0 to 1"),
        (lambda: Cut(2), "at is from 0 to 1"),
        (lambda: Trickle(-1), "seconds is a number of seconds"),
        (lambda: Trickle(pieces=0), "pieces is from 1 to 1,000, not 0"),
        (lambda: Trickle(pieces=1001), "pieces is from 1 to 1,000, not 1001"),
        (lambda: Latency(-1), "seconds is a number of seconds"),
        (lambda: Latency(jitter_s=float("nan")), "jitter_s is a number of seconds"),
        (lambda: ShardLimits(0), "records_per_s is above 0"),
        (lambda: FaultProxy("https://kinesis.us-east-1.amazonaws.com", seed=1), "the upstream is a local Kinesis"),
    ],
)
def test_what_means_nothing_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("faults", [Reset(), [Reset], [None], ["reset"], 7])
def test_only_faults_are_faults(faults):
    with pytest.raises(TypeError, match="faults"):
        FaultProxy("http://127.0.0.1:1", seed=1, faults=faults)
    with pytest.raises(TypeError, match="a Script is made of"):
        Script("PutRecords", ["reset"])
