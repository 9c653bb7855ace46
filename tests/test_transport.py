"""Boto3Transport, on a local Kinesis and, for what that never answers, on botocore's own stubs."""

from __future__ import annotations

import json
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.exceptions import ClientError, ConnectionClosedError
from botocore.stub import Stubber
from faulty_kinesis import CUT, FaultyKinesis

from shardpack import Boto3Transport, KinesisRecord, Limits, Shard, ShardMap, ShardMapError
from shardpack.consume.stream.reader import StreamReader
from shardpack.transport import BrokenAnswerError, Failed, Stored
from shardpack.transport.list_shards import list_all_shards

END = 2**128
ARN = "arn:aws:kinesis:us-east-1:123456789012:stream/of-another"
ID = "abcdefghij0123456789-x1y"
OF_ITS_OWN = "abcdefghij0123456789.x1y.{}-kinesis.eu-west-1.amazonaws.com"


def aws_client(region):
    return boto3.client("kinesis", region_name=region, aws_access_key_id="a", aws_secret_access_key="b")  # noqa: S106


of_newer_botocore = pytest.mark.skipif(
    "StreamId" not in aws_client("eu-west-1").meta.service_model.operation_model("PutRecords").input_shape.members,
    reason="this botocore has no stream ids",
)


@pytest.fixture(scope="module")
def client(local_kinesis):
    return local_kinesis.client()


@pytest.fixture(scope="session")
def stream(local_kinesis):
    local_kinesis.create_stream("transport", 4)
    return "transport"


@pytest.fixture
def stubbed(local_kinesis):
    """A client that answers what the test tells it; every answer has to be asked for, with just these parameters."""
    client = local_kinesis.client()
    with Stubber(client) as stubber:
        yield client, stubber
        stubber.assert_no_pending_responses()


def record(partition_key, data=b"data", explicit_hash_key=None):
    size = len(data) + len(partition_key.encode())
    return KinesisRecord(partition_key, explicit_hash_key, data, 0, 1, size)


def read_back(client, stream, shard_id):
    iterator = client.get_shard_iterator(StreamName=stream, ShardId=shard_id, ShardIteratorType="TRIM_HORIZON")
    return client.get_records(ShardIterator=iterator["ShardIterator"])["Records"]


def described(shard_id, start, end):
    return {
        "ShardId": shard_id,
        "HashKeyRange": {"StartingHashKey": str(start), "EndingHashKey": str(end)},
        "SequenceNumberRange": {"StartingSequenceNumber": "1"},
    }


# --- a local Kinesis ---


def test_what_is_put_is_stored_where_the_outcome_says(client, stream):
    records = [
        record("a", b"\x00\xff"),
        record("clé 日本", b"", str(2**127)),
        record("\U0001d518" * 256, bytes(range(256)) * 100, str(END - 1)),
        record("a", b"last", "0"),
    ]
    outcomes = Boto3Transport(client, stream).put_records(records)
    assert all(isinstance(outcome, Stored) for outcome in outcomes)
    assert [outcome.shard_id[-1] for outcome in outcomes[1:]] == ["2", "3", "0"]
    for sent, outcome in zip(records, outcomes, strict=True):
        [stored] = [
            found
            for found in read_back(client, stream, outcome.shard_id)
            if found["SequenceNumber"] == outcome.sequence_number
        ]
        assert (stored["Data"], stored["PartitionKey"]) == (sent.data, sent.partition_key)


def test_500_records_in_one_request(client, stream):
    outcomes = Boto3Transport(client, stream).put_records([record(f"key-{i}") for i in range(500)])
    assert len(outcomes) == 500
    assert len({(outcome.shard_id, outcome.sequence_number) for outcome in outcomes}) == 500


def test_the_shard_map_of_a_stream(client, stream):
    assert Boto3Transport(client, stream).list_shards() == ShardMap.uniform(4)


@pytest.mark.parametrize("named", [lambda arn: {"stream_arn": arn}, lambda arn: {"stream_name": arn}])
def test_a_stream_by_its_arn(client, stream, named):
    by_name = Boto3Transport(client, stream)
    arn = by_name.describe().stream_arn
    assert arn.startswith("arn:")
    by_arn = Boto3Transport(client, **named(arn))
    assert by_arn.list_shards() == by_name.list_shards()
    assert by_arn.describe() == by_name.describe()
    [outcome] = by_arn.put_records([record("by-arn", b"by arn")])
    assert b"by arn" in [found["Data"] for found in read_back(client, stream, outcome.shard_id)]
    [read] = [
        read
        for read in StreamReader(arn, client=client, until="latest", range_rule=False)
        if read.shard.shard_id == outcome.shard_id
    ]
    assert b"by arn" in [found.data for found in read.records]


def test_what_a_stream_says_of_itself(client, stream):
    description = Boto3Transport(client, stream).describe()
    assert (description.stream_name, description.status, description.open_shard_count) == (stream, "ACTIVE", 4)
    assert description.limits == Limits()
    assert description.auto_distribution is False


@pytest.mark.parametrize("call", ["list_shards", "describe", "put_records"])
def test_a_stream_that_is_not_there(client, call):
    arguments = [[record("a")]] if call == "put_records" else []
    with pytest.raises(ClientError) as raised:
        getattr(Boto3Transport(client, "no-such-stream"), call)(*arguments)
    assert raised.value.response["Error"]["Code"] == "ResourceNotFoundException"


@pytest.mark.parametrize("streams", [{}, {"stream_name": "a", "stream_arn": ARN}])
def test_either_name_or_arn(client, streams):
    with pytest.raises(ValueError, match="either stream_name or stream_arn"):
        Boto3Transport(client, **streams)


# --- answers that only a busy service gives ---


def test_failed_entries_answer_by_position(stubbed):
    client, stubber = stubbed
    stubber.add_response(
        "put_records",
        {
            "FailedRecordCount": 3,
            "Records": [
                {"ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "Rate exceeded for shard 0"},
                {"SequenceNumber": "5", "ShardId": "shardId-000000000001"},
                {"ErrorCode": "InternalFailure", "ErrorMessage": "Internal service failure."},
                {"ErrorCode": "KMSThrottlingException"},
            ],
        },
        {
            "StreamName": "s",
            "Records": [
                {"Data": b"data", "PartitionKey": "a"},
                {"Data": b"data", "PartitionKey": "b", "ExplicitHashKey": "7"},
                {"Data": b"data", "PartitionKey": "c"},
                {"Data": b"data", "PartitionKey": "d"},
            ],
        },
    )
    records = [record("a"), record("b", explicit_hash_key="7"), record("c"), record("d")]
    assert Boto3Transport(client, "s").put_records(records) == [
        Failed("ProvisionedThroughputExceededException", "Rate exceeded for shard 0"),
        Stored("shardId-000000000001", "5"),
        Failed("InternalFailure", "Internal service failure."),
        Failed("KMSThrottlingException", ""),
    ]


# --- bodies ---


@pytest.fixture
def sent(local_kinesis):
    """A client whose calls are stopped before they are sent, and what they would have sent."""
    client = local_kinesis.client()
    requests = []

    def stop(request, **_):
        requests.append(request)
        raise ConnectionAbortedError

    client.meta.events.register("before-send.kinesis.PutRecords", stop)
    return client, requests


RECORDS = [
    record("device-7", b"\x00\xff" * 50_000, str(END - 1)),
    record('"quoted" \\ \n', b""),
    record("clé 日本 \U0001d518", b"\xf3\x89\x9a\xc2", "0"),
]


@pytest.mark.parametrize("stream", [{"stream_name": "s"}, {"stream_arn": ARN}])
@pytest.mark.parametrize("records", [RECORDS, RECORDS[:1]])
def test_bodies_say_what_boto3_would_say(sent, records, stream):
    client, requests = sent
    plain = client.__class__.put_records
    transport = Boto3Transport(client, **stream)
    with pytest.raises(ConnectionAbortedError):
        transport.put_records(records)
    named = {"StreamName": "s"} if "stream_name" in stream else {"StreamARN": ARN}
    with pytest.raises(ConnectionAbortedError):
        plain(client, Records=[each.to_boto3() for each in records], **named)
    ours, theirs = requests
    assert json.loads(ours.body) == json.loads(theirs.body)
    assert ours.headers["Content-Length"] == str(len(ours.body))
    assert ours.headers["X-Amz-Target"] == theirs.headers["X-Amz-Target"]


def test_who_listens_to_a_client_is_shown_the_parameters(sent):
    client, _ = sent
    seen = []
    client.meta.events.register(
        "before-parameter-build.kinesis.PutRecords", lambda params, **_: seen.append(dict(params))
    )
    with pytest.raises(ConnectionAbortedError):
        Boto3Transport(client, "s").put_records(RECORDS)
    assert seen == [{"Records": [each.to_boto3() for each in RECORDS], "StreamName": "s"}]


@pytest.mark.parametrize(
    ("error_code", "retryable"),
    [
        ("ProvisionedThroughputExceededException", True),
        ("InternalFailure", True),
        ("ValidationException", False),
        ("AccessDeniedException", False),
        ("", False),
    ],
)
def test_what_may_be_tried_again(error_code, retryable):
    assert Failed(error_code, "").retryable is retryable


def test_shards_come_in_pages(stubbed):
    """The service refuses a stream or a filter beside a NextToken."""
    client, stubber = stubbed
    third = END // 3
    stubber.add_response(
        "list_shards",
        {"Shards": [described("b", third, 2 * third)], "NextToken": "one"},
        {"StreamName": "s", "ShardFilter": {"Type": "AT_LATEST"}},
    )
    stubber.add_response("list_shards", {"Shards": [], "NextToken": "two"}, {"NextToken": "one"})
    last = [described("c", 2 * third + 1, END - 1), described("a", 0, third - 1)]
    stubber.add_response("list_shards", {"Shards": last}, {"NextToken": "two"})
    assert list(Boto3Transport(client, "s").list_shards()) == [
        Shard("a", 0, third - 1),
        Shard("b", third, 2 * third),
        Shard("c", 2 * third + 1, END - 1),
    ]


def test_a_page_token_that_expires_begins_the_list_again(stubbed):
    client, stubber = stubbed
    first = {"Shards": [described("a", 0, END // 2 - 1)], "NextToken": "one"}
    for _ in range(2):
        stubber.add_response("list_shards", first, {"StreamName": "s"})
        stubber.add_client_error("list_shards", "ExpiredNextTokenException", expected_params={"NextToken": "one"})
    stubber.add_response("list_shards", first, {"StreamName": "s"})
    stubber.add_response("list_shards", {"Shards": [described("b", END // 2, END - 1)]}, {"NextToken": "one"})
    assert [shard["ShardId"] for shard in list_all_shards(client, {"StreamName": "s"})] == ["a", "b"]
    for _ in range(3):
        stubber.add_response("list_shards", first, {"StreamName": "s"})
        stubber.add_client_error("list_shards", "ExpiredNextTokenException", expected_params={"NextToken": "one"})
    with pytest.raises(ClientError, match="ExpiredNextToken"):
        list_all_shards(client, {"StreamName": "s"})


def test_other_errors_of_list_shards_pass_through(stubbed):
    client, stubber = stubbed
    stubber.add_client_error("list_shards", "LimitExceededException")
    with pytest.raises(ClientError, match="LimitExceeded"):
        list_all_shards(client, {"StreamName": "s"})


def test_a_shard_on_two_pages_is_one(stubbed):
    """Where a stream is resharded between two pages; the later page knows that it was closed."""
    client, stubber = stubbed
    closed = described("a", 0, END - 1)
    closed["SequenceNumberRange"]["EndingSequenceNumber"] = "9"
    stubber.add_response("list_shards", {"Shards": [described("a", 0, END - 1)], "NextToken": "one"})
    stubber.add_response("list_shards", {"NextToken": "two"}, {"NextToken": "one"})
    stubber.add_response("list_shards", {"Shards": [closed, described("b", 0, END - 1)]}, {"NextToken": "two"})
    assert list_all_shards(client, {"StreamName": "s"}) == [closed, described("b", 0, END - 1)]


def test_a_list_without_an_end(stubbed):
    client, stubber = stubbed
    for token in ("one", "two", "one"):
        stubber.add_response("list_shards", {"Shards": [], "NextToken": token})
    with pytest.raises(RuntimeError, match="page token 'one' twice"):
        list_all_shards(client, {"StreamName": "s"})


def test_answers_that_were_cut_off_are_errors(local_kinesis, stream):
    """boto3 takes half an answer for one that has nothing in it."""
    operations = ["PutRecords", "ListShards", "DescribeStreamSummary"]
    with FaultyKinesis(local_kinesis.endpoint_url) as faulty:
        transport = Boto3Transport(faulty.client(), stream)
        for operation in operations:
            faulty.fail(operation, CUT)
        calls = [lambda: transport.put_records([record("a")]), transport.list_shards, transport.describe]
        for operation, call in zip(operations, calls, strict=True):
            with pytest.raises((BrokenAnswerError, ConnectionClosedError)) as raised:  # which older botocores raise
                call()
            if isinstance(raised.value, BrokenAnswerError):
                assert f"{operation}: the answer was cut off" in str(raised.value)


def test_half_a_list_of_shards_is_no_map(stubbed):
    client, stubber = stubbed
    stubber.add_response("list_shards", {"Shards": [described("a", 0, END // 2)]})
    with pytest.raises(ShardMapError, match="gap after a"):
        Boto3Transport(client, "s").list_shards()


@pytest.mark.parametrize("stream_id", [None, pytest.param(ID, marks=of_newer_botocore)])
@pytest.mark.parametrize("named", [{"stream_arn": ARN}, {"stream_name": ARN}, {"stream_name": "of-another"}])
def test_what_names_a_stream_goes_into_every_call(stubbed, named, stream_id):
    client, stubber = stubbed
    stream = {"StreamName": "of-another"} if named == {"stream_name": "of-another"} else {"StreamARN": ARN}
    beside_token = {} if stream_id is None else {"StreamId": stream_id}
    stream |= beside_token
    stubber.add_response(
        "list_shards",
        {"Shards": [], "NextToken": "page-2"},
        {**stream, "ShardFilter": {"Type": "AT_LATEST"}},
    )
    stubber.add_response(
        "list_shards", {"Shards": [described("a", 0, END - 1)]}, {"NextToken": "page-2", **beside_token}
    )
    stubber.add_response("describe_stream_summary", summary(), stream)
    stubber.add_response(
        "put_records",
        {"Records": [{"SequenceNumber": "5", "ShardId": "a"}]},
        {**stream, "Records": [{"Data": b"data", "PartitionKey": "k"}]},
    )
    transport = Boto3Transport(client, **named, stream_id=stream_id)
    transport.list_shards()
    transport.describe()
    assert transport.put_records([record("k")]) == [Stored("a", "5")]


@pytest.mark.parametrize(
    ("stream", "host"),
    [
        ({"stream_name": "s"}, "kinesis.eu-west-1.amazonaws.com"),
        ({"stream_name": ARN}, "123456789012.{}-kinesis.eu-west-1.amazonaws.com"),
        pytest.param({"stream_arn": ARN, "stream_id": ID}, OF_ITS_OWN, marks=of_newer_botocore),
        pytest.param({"stream_name": "s", "stream_id": ID}, OF_ITS_OWN, marks=of_newer_botocore),
    ],
)
def test_botocores_rules_find_the_endpoint_of_every_call(stream, host):
    client = aws_client("eu-west-1")
    hosts = []

    def not_sent(request, **_):
        hosts.append(urlsplit(request.url).hostname)
        raise ConnectionAbortedError

    client.meta.events.register("before-send.kinesis", not_sent)
    transport = Boto3Transport(client, **stream)
    for call in transport.describe, transport.list_shards, lambda: transport.put_records([record("k")]):
        with pytest.raises(ConnectionAbortedError):
            call()
    assert hosts == [host.format(plane) for plane in ("control", "control", "data")]


def test_an_arn_that_is_none(client):
    with pytest.raises(ValueError, match="stream_arn is an ARN, not 'telemetry'"):
        Boto3Transport(client, stream_arn="telemetry")


def summary(**more):
    return {
        "StreamDescriptionSummary": {
            "StreamName": "of-another",
            "StreamARN": ARN,
            "StreamStatus": "UPDATING",
            "RetentionPeriodHours": 24,
            "StreamCreationTimestamp": 0,
            "EnhancedMonitoring": [],
            "OpenShardCount": 9,
            **more,
        }
    }


@pytest.mark.parametrize(
    ("more", "limits", "auto"),
    [
        ({}, Limits(), False),
        ({"MaxRecordSizeInKiB": 1024, "RecordDistributionStrategy": "UNIFORM"}, Limits(), False),
        ({"RecordDistributionStrategy": "AUTO"}, Limits(), True),
        ({"MaxRecordSizeInKiB": 2048}, Limits(max_record_bytes=2**21, max_request_bytes=10 * 2**20), False),
        ({"MaxRecordSizeInKiB": 10240}, Limits(max_record_bytes=10 * 2**20, max_request_bytes=10 * 2**20), False),
    ],
)
def test_limits_and_distribution_of_a_stream(stubbed, more, limits, auto):
    client, stubber = stubbed
    if not set(more) <= set(client.meta.service_model.shape_for("StreamDescriptionSummary").members):
        pytest.skip("this botocore does not tell of it")
    stubber.add_response("describe_stream_summary", summary(**more), {"StreamName": "s"})
    description = Boto3Transport(client, "s").describe()
    assert (description.limits, description.auto_distribution) == (limits, auto)
    assert (description.stream_name, description.stream_arn) == ("of-another", ARN)
    assert (description.status, description.open_shard_count) == ("UPDATING", 9)


@pytest.mark.parametrize(
    "code", ["ProvisionedThroughputExceededException", "AccessDeniedException", "ValidationException"]
)
def test_a_call_that_fails_as_a_whole_raises_what_botocore_raises(stubbed, code):
    client, stubber = stubbed
    stubber.add_client_error("put_records", code)
    with pytest.raises(ClientError, match=code):
        Boto3Transport(client, "s").put_records([record("a")])
