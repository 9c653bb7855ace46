"""What would fail of a stream: of a local Kinesis, one behind a proxy that denies, and of AWS by botocore's stubs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from email.utils import formatdate

import boto3
import pytest
from botocore.exceptions import ParamValidationError
from botocore.stub import Stubber
from faulty_kinesis import CUT, RESET, FaultyKinesis

from shardpack.testing import history
from shardpack.testing.faults import Error
from shardpack.transport import diagnosis
from shardpack.transport.diagnosis import diagnose

ARN = "arn:aws:kinesis:us-east-1:123456789012:stream/s"
SHARDS = {
    "Shards": [
        {
            "ShardId": "shardId-000000000003",
            "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": "1"},
            "SequenceNumberRange": {"StartingSequenceNumber": "1"},
        }
    ]
}


class DryRunningKinesis(FaultyKinesis):
    """Answers dry runs as the service does, where nothing else is to be answered."""

    def _next(self, request):
        return super()._next(request) or (Error("DryRunOperationException") if request.json.get("DryRun") else None)


@pytest.fixture(autouse=True)
def waits(monkeypatch):
    """How long was waited between dry runs; nobody does."""
    waited = []
    monkeypatch.setattr(diagnosis, "sleep", waited.append)
    return waited


@pytest.fixture(scope="session")
def stream(local_kinesis):
    local_kinesis.create_stream("diagnosed", 2)
    yield "diagnosed"
    stored = history.read_all(local_kinesis.client(), "diagnosed")
    assert [shard.records for shard in stored] == [[], []], "none of these tests may write"


@pytest.fixture
def faulty(local_kinesis) -> Iterator[FaultyKinesis]:
    with FaultyKinesis(local_kinesis.endpoint_url) as faulty:
        yield faulty
        assert faulty.left == 0


@pytest.fixture
def dry_running(local_kinesis) -> Iterator[FaultyKinesis]:
    with DryRunningKinesis(local_kinesis.endpoint_url) as dry_running:
        yield dry_running
        assert dry_running.left == 0


def aws_client(region="us-east-1"):
    return boto3.client("kinesis", region_name=region, aws_access_key_id="a", aws_secret_access_key="b")  # noqa: S106


pytestmark = pytest.mark.skipif(
    "DryRun" not in aws_client().meta.service_model.operation_model("PutRecords").input_shape.members,
    reason="this botocore has no dry runs",
)


@pytest.fixture
def stubbed():
    """A client of AWS's own host, whose calls are to come in order."""
    client = aws_client()
    with Stubber(client) as stubber:
        yield client, stubber
        stubber.assert_no_pending_responses()


def summary(date=None, **more):
    found = {
        "StreamDescriptionSummary": {
            "StreamName": "s",
            "StreamARN": ARN,
            "StreamStatus": "ACTIVE",
            "RetentionPeriodHours": 24,
            "StreamCreationTimestamp": 0,
            "EnhancedMonitoring": [],
            "OpenShardCount": 9,
            **more,
        }
    }
    return found if date is None else {**found, "ResponseMetadata": {"HTTPHeaders": {"date": date}}}


def by_name(found):
    assert len({check.name for check in found.checks}) == len(found.checks)
    return {check.name: check for check in found.checks}


def verdicts(found):
    return {name: check.verdict for name, check in by_name(found).items() if check.verdict != "ok"}


# --- a local Kinesis, which stores what it is to dry-run ---


def test_a_kinesis_without_dry_runs_is_not_asked_to_put(faulty, stream):
    found = diagnose(faulty.client(), stream)
    assert [operation for operation, _ in faulty.calls] == ["DescribeStreamSummary", "ListShards", "GetShardIterator"]
    assert verdicts(found) == {"put": "warning"}
    assert found.verdict == "warning"
    checks = by_name(found)
    assert "not asked" in checks["put"].found
    assert checks["shards"].found == "listed, 2 open"
    assert checks["mode"].found == "PROVISIONED: 2 MiB/s and 2,000 Kinesis records/s at most"
    assert checks["record limit"].found == "1,024 KiB a record, 5,120 KiB a request"


@pytest.mark.parametrize("by_arn", [False, True])
def test_all_is_well(dry_running, stream, waits, by_arn):
    client = dry_running.client()
    arn = client.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]["StreamARN"]
    found = diagnose(client, arn if by_arn else stream)
    assert (found.verdict, found.stream) == ("ok", arn if by_arn else stream)
    assert {check.remedy for check in found.checks} == {""}
    [put] = dry_running.calls_of("PutRecords")
    assert put["DryRun"] is True
    assert ("StreamARN" in put) is by_arn
    assert waits == [diagnosis.DRY_RUN_SECONDS]  # the service takes one dry run a second


@pytest.mark.parametrize(
    ("operation", "code", "found"),
    [
        ("DescribeStreamSummary", "AccessDeniedException", {"description": "warning"}),
        ("ListShards", "AccessDeniedException", {"shards": "warning"}),
        ("GetShardIterator", "AccessDeniedException", {"put": "warning"}),  # it is no host of AWS's own
        ("PutRecords", "AccessDeniedException", {"put": "fails"}),
        ("PutRecords", "KMSAccessDeniedException", {"put": "fails"}),
        ("PutRecords", "ResourceNotFoundException", {"put": "fails"}),
        ("PutRecords", "ThrottlingException", {"put": "warning"}),
        ("PutRecords", "InternalFailure", {"put": "warning"}),
        ("PutRecords", RESET, {"put": "warning"}),
        ("ListShards", "LimitExceededException", {"shards": "warning"}),
        ("ListShards", CUT, {"shards": "warning"}),
        ("DescribeStreamSummary", "InternalFailure", {"description": "warning"}),
        ("DescribeStreamSummary", "LimitExceededException", {"description": "warning"}),
        ("DescribeStreamSummary", "ResourceNotFoundException", {"stream": "fails"}),
        ("DescribeStreamSummary", "InvalidArgumentException", {"stream": "fails"}),
        ("DescribeStreamSummary", "ExpiredTokenException", {"credentials": "fails"}),
        ("DescribeStreamSummary", "UnrecognizedClientException", {"credentials": "fails"}),
        ("DescribeStreamSummary", RESET, {"endpoint": "fails"}),
    ],
)
def test_what_is_refused(dry_running, stream, operation, code, found):
    dry_running.fail(operation, code)
    client = dry_running.client(retries={"total_max_attempts": 1})
    seen = diagnose(client, stream)
    assert verdicts(seen) == found
    [name] = found
    check = by_name(seen)[name]
    if name != "put" or operation == "PutRecords":
        assert code in check.found or code in {RESET, CUT}
    if code == "AccessDeniedException" and operation != "GetShardIterator":
        assert check.remedy == f"allow kinesis:{operation}"
    if "fails" in found.values() and operation != "PutRecords":
        assert [called for called, _ in dry_running.calls] == [operation]


def test_nobody_answers():
    client = boto3.client(
        "kinesis",
        region_name="us-east-1",
        endpoint_url="http://127.0.0.1:9",
        aws_access_key_id="a",
        aws_secret_access_key="b",  # noqa: S106
    )
    found = diagnose(client, "s")
    assert verdicts(found) == {"endpoint": "fails"}
    assert "http://127.0.0.1:9, region us-east-1: EndpointConnectionError" in found.checks[0].found


def test_a_stream_that_is_not_there(local_kinesis):
    found = diagnose(local_kinesis.client(), "no-such-stream")
    assert verdicts(found) == {"stream": "fails"}
    with pytest.raises(ParamValidationError):
        diagnose(local_kinesis.client(), "")


# --- AWS itself ---


def ask_to_put(stubber, code=None):
    expected = {
        "StreamName": "s",
        "DryRun": True,
        "Records": [{"Data": b"", "PartitionKey": "shardpack-doctor"}],
    }
    if code is None:
        answer = {"Records": [{"ShardId": "shardId-000000000003", "SequenceNumber": "1"}]}
        stubber.add_response("put_records", answer, expected)
    else:
        stubber.add_client_error("put_records", code, http_status_code=400, expected_params=expected)


def ask_to_read(stubber, code=None, shard="shardId-000000000003"):
    expected = {"StreamName": "s", "ShardId": shard, "ShardIteratorType": "LATEST", "DryRun": True}
    if code is None:
        stubber.add_response("get_shard_iterator", {"ShardIterator": "AAA"}, expected)
    else:
        stubber.add_client_error("get_shard_iterator", code, http_status_code=400, expected_params=expected)


def describe(stubber, **more):
    stubber.add_response("describe_stream_summary", summary(**more), {"StreamName": "s"})
    stubber.add_response("list_shards", SHARDS, {"StreamName": "s", "MaxResults": 1})


@pytest.mark.parametrize("read", ["DryRunOperationException", "AccessDeniedException"])
@pytest.mark.parametrize(("put", "verdict"), [("DryRunOperationException", "ok"), ("AccessDeniedException", "fails")])
def test_who_may_only_put_is_told_whether_he_may(stubbed, read, put, verdict):
    client, stubber = stubbed
    describe(stubber)
    ask_to_read(stubber, read)
    ask_to_put(stubber, put)
    found = by_name(diagnose(client, "s"))
    assert found["put"].verdict == verdict
    assert found["read"].verdict == "ok"
    assert found["read"].found.startswith("allowed" if read == "DryRunOperationException" else "not allowed")


def test_who_may_do_nothing(stubbed):
    client, stubber = stubbed
    stubber.add_client_error("describe_stream_summary", "AccessDeniedException")
    stubber.add_client_error("list_shards", "AccessDeniedException")
    ask_to_read(stubber, "AccessDeniedException", "shardId-000000000000")
    ask_to_put(stubber, "AccessDeniedException")
    found = diagnose(client, "s")
    assert verdicts(found) == {"description": "warning", "shards": "warning", "put": "fails"}


def test_a_dry_run_that_is_answered_as_if_it_were_none(stubbed):
    """Whatever names itself after AWS: one that ignores the harmless one is not asked the other."""
    client, stubber = stubbed
    describe(stubber)
    ask_to_read(stubber)
    assert verdicts(diagnose(client, "s")) == {"put": "warning"}
    describe(stubber)
    ask_to_read(stubber, "AccessDeniedException")
    ask_to_put(stubber)
    found = diagnose(client, "s")
    assert verdicts(found) == {"put": "fails"}
    assert "there may be an empty record in the stream now" in by_name(found)["put"].found


def test_a_botocore_without_dry_runs(stubbed):
    client, stubber = stubbed
    client.meta.service_model.operation_model("PutRecords").input_shape.members.pop("DryRun")
    describe(stubber)
    found = by_name(diagnose(client, "s"))
    assert (found["put"].verdict, found["put"].remedy) == ("warning", "upgrade boto3")


OTHER_KEY = "arn:aws:kms:us-east-1:123456789012:key/12345678-1234-1234-1234-123456789012"


@pytest.mark.parametrize(
    ("more", "name", "verdict", "said"),
    [
        ({"StreamStatus": "UPDATING"}, "status", "ok", "UPDATING"),
        ({"StreamStatus": "CREATING"}, "status", "fails", "CREATING"),
        ({"StreamStatus": "DELETING"}, "status", "fails", "DELETING"),
        ({"RecordDistributionStrategy": "AUTO"}, "distribution", "warning", "records are not aggregated"),
        ({"RecordDistributionStrategy": "USER_PARTITION_KEY"}, "distribution", "ok", "by partition key"),
        ({"MaxRecordSizeInKiB": 2048}, "record limit", "ok", "2,048 KiB a record, 10,240 KiB a request"),
        ({"EncryptionType": "NONE"}, "encryption", "ok", "none"),
        ({"EncryptionType": "KMS", "KeyId": "alias/aws/kinesis"}, "encryption", "ok", "AWS's own key"),
        ({"EncryptionType": "KMS", "KeyId": OTHER_KEY}, "encryption", "warning", OTHER_KEY),
        ({"RetentionPeriodHours": 8760}, "retention", "ok", "8,760 hours"),
        ({"ConsumerCount": 2, "QueueCount": 1}, "consumers", "ok", "2 with enhanced fan-out, 1 queues"),
        ({"StreamModeDetails": {"StreamMode": "ON_DEMAND"}}, "mode", "ok", "ON_DEMAND"),
        ({"WarmThroughput": {"CurrentMiBps": 100, "TargetMiBps": 100}}, "mode", "ok", ", warm for 100 MiB/s"),
        ({"WarmThroughput": {"CurrentMiBps": 4, "TargetMiBps": 100}}, "mode", "ok", "4 MiB/s, on its way to 100"),
    ],
)
def test_the_settings_of_a_stream(stubbed, more, name, verdict, said):
    client, stubber = stubbed
    describe(stubber, **more)
    ask_to_read(stubber)
    check = by_name(diagnose(client, "s"))[name]
    assert check.verdict == verdict
    assert said in check.found
    assert bool(check.remedy) is (verdict != "ok")


@pytest.mark.parametrize(
    ("ahead_s", "verdict", "said"),
    [
        (0, "ok", "as the service's"),
        (-30, "ok", "30 s ahead of the service's"),
        (120, "warning", "120 s behind the service's"),
        (-120, "warning", "120 s ahead of the service's"),
        (600, "fails", "600 s behind the service's"),
        (-90000, "fails", "90,000 s ahead of the service's"),
    ],
)
def test_the_clock(stubbed, monkeypatch, ahead_s, verdict, said):
    client, stubber = stubbed
    monkeypatch.setattr(time, "time", lambda: 1_795_600_000.5)
    describe(stubber, date=formatdate(1_795_600_000 + ahead_s, usegmt=True))
    ask_to_read(stubber)
    check = by_name(diagnose(client, "s"))["clock"]
    assert check.verdict == verdict
    assert check.found.startswith(said)


@pytest.mark.parametrize("date", ["", "yesterday", "Thu, 99 Foo 99999999999999 00:00:00 GMT"])
def test_a_date_that_is_none(stubbed, date):
    client, stubber = stubbed
    describe(stubber, date=date)
    ask_to_read(stubber)
    assert "clock" not in by_name(diagnose(client, "s"))


def test_the_clock_of_who_refuses_a_signature(stubbed):
    client, stubber = stubbed
    stubber.add_client_error(
        "describe_stream_summary",
        "InvalidSignatureException",
        "Signature expired: 20261120T063115Z is now earlier than 20261120T064115Z",
        response_meta={"HTTPHeaders": {"date": formatdate(time.time() + 900, usegmt=True)}},
    )
    found = diagnose(client, "s")
    assert verdicts(found) == {"credentials": "fails", "clock": "fails"}
    assert "Signature expired" in by_name(found)["credentials"].found


def test_the_arn_of_another_region():
    client = aws_client("eu-west-1")
    with Stubber(client) as stubber:
        stubber.add_client_error("describe_stream_summary", "ResourceNotFoundException", "Stream s not found")
        found = diagnose(client, ARN)
    assert verdicts(found) == {"endpoint": "fails", "stream": "fails"}
    assert by_name(found)["endpoint"].remedy == "use a client of the region us-east-1"


@pytest.mark.parametrize("arn", ["arn:aws:s3:::bucket", "arn:", "arn:aws:kinesis:us-east-1:123456789012:queue/q"])
def test_an_arn_of_something_else(arn):
    """botocore's own rules refuse it, before any call."""
    found = diagnose(aws_client(), arn)
    assert verdicts(found) == {"stream": "fails"}
    assert "ARN" in found.checks[0].found
