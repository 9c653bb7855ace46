"""What would fail of a stream, asked before anything is put: permissions, settings, clock. Nothing is written.

Whether PutRecords is allowed is told by its DryRun. A Kinesis that does not know the parameter stores the record
instead, as local ones do; so GetShardIterator, which writes nothing, is asked for a dry run first.

Source: developer guide of Kinesis Data Streams, "Test your permissions and request inputs with dry run"; API reference
of DescribeStreamSummary.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from time import sleep
from typing import Any, Literal, TypeAlias
from urllib.parse import urlsplit

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    TokenRetrievalError,
    UnauthorizedSSOTokenError,
)

from ..limits import KIB, Limits
from . import THROTTLED
from .naming import stream_parameters
from .transient import error_code, is_transient, is_unreachable

Verdict: TypeAlias = Literal["ok", "warning", "fails"]

NO_CREDENTIALS = (
    CredentialRetrievalError,
    NoCredentialsError,
    PartialCredentialsError,
    TokenRetrievalError,
    UnauthorizedSSOTokenError,
)
BAD_CREDENTIALS = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "IncompleteSignatureException",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "OptInRequired",
        "RequestExpired",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
"""Source: common errors of AWS services."""

DENIED = frozenset({"AccessDeniedException", "AccessDenied"})
NOT_FOUND = "ResourceNotFoundException"
WOULD_SUCCEED = "DryRunOperationException"

AWS_DOMAINS = (
    ".amazonaws.com",
    ".amazonaws.com.cn",
    ".amazonaws.eu",
    ".api.amazonwebservices.com.cn",
    ".api.amazonwebservices.eu",
    ".api.aws",
)
"""Where the service itself answers, which knows dry runs everywhere. Others, local ones among them, have to show it."""

DRY_RUN_SECONDS = 1.1
"""From one dry run of a stream to the next: the service takes one a second, of all kinds together."""

SKEW_SECONDS = 60.0
MOST_SKEW_SECONDS = 300.0
"""From here on signatures are refused. Source: AWS General Reference, "Signature Version 4"."""

MANAGED_KEY = "alias/aws/kinesis"
ANY_SHARD = "shardId-000000000000"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    verdict: Verdict
    found: str
    remedy: str = ""
    """What to do about it; empty where there is nothing to do."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was found of one stream, in the order in which it was looked at."""

    stream: str
    checks: tuple[Check, ...]

    @property
    def verdict(self) -> Verdict:
        """The worst of all."""
        found = {check.verdict for check in self.checks}
        return "fails" if "fails" in found else "warning" if "warning" in found else "ok"


def diagnose(client: Any, stream: str) -> Diagnosis:
    """Tell what would fail for a producer of this stream. Writes nothing; takes a second or two.

    ``client`` is a boto3 Kinesis client, ``stream`` a name or an ARN. It calls DescribeStreamSummary, ListShards for
    one shard, and GetShardIterator and PutRecords as dry runs, of which the second is billed like a record of a few
    bytes. PutRecords is asked only where the answer to the first shows that dry runs are known, or where that was
    refused and AWS's own host answers; else it is not known whether putting is allowed, and a warning says so.

    A check that ``fails`` means that nothing will be stored; a ``warning``, that records are stored in another way than
    one may think, or that it could not be told. Checks that nothing is known of are left out: what they would have to
    know from has its own. Raises ``ParamValidationError`` for what cannot name a stream.
    """
    return Diagnosis(stream, tuple(_Examination(client, stream).checks()))


@dataclass(slots=True)
class _Answer:
    """What came of a call: a response, or why there is none."""

    response: Mapping[str, Any] = field(default_factory=dict)
    error: ClientError | BotoCoreError | None = None
    skew_s: float | None = None
    """How far the service's clock is ahead of ours."""

    @property
    def code(self) -> str:
        """The service's error code; of another error, its kind; empty where there is none."""
        return "" if self.error is None else error_code(self.error) or type(self.error).__name__

    @property
    def is_final(self) -> bool:
        """Whether no other call would do better: not that this one is denied, or that the service is busy."""
        if isinstance(self.error, ClientError):
            return self.code not in DENIED and not is_transient(self.error)
        return self.error is not None

    @property
    def reason(self) -> str:
        """The error in words."""
        details = self.error.response.get("Error", {}) if isinstance(self.error, ClientError) else {}
        return f"{self.code}: {details.get('Message') or self.error}"


class _Examination:
    def __init__(self, client: Any, stream: str) -> None:
        self._client = client
        self._given = stream
        self._stream = stream_parameters(stream)
        self._region: str = client.meta.region_name

    def checks(self) -> Iterator[Check]:
        described = self._ask(self._client.describe_stream_summary)
        yield from self._access(described)
        if described.skew_s is not None:
            yield _clock(described.skew_s)
        if described.is_final:
            return  # every other call would meet the same
        summary = described.response.get("StreamDescriptionSummary")
        if described.code in DENIED:
            yield Check(
                "description",
                "warning",
                f"{described.reason}; the stream is taken for one with records of 1 MiB and without AUTO",
                "allow kinesis:DescribeStreamSummary",
            )
        elif summary is None:
            yield _not_known("description", described, "DescribeStreamSummary")
        else:
            yield from _settings(summary)
        listed = self._ask(self._client.list_shards, MaxResults=1)
        yield _shards(listed, summary)
        yield from self._dry_runs(listed)

    def _ask(self, call: Callable[..., Mapping[str, Any]], **parameters: Any) -> _Answer:
        began = time.time()
        answer = _Answer()
        try:
            answer.response = call(**self._stream, **parameters)
        except ParamValidationError:
            raise
        except (ClientError, BotoCoreError) as error:
            answer.error = error
        response: Any = answer.error.response if isinstance(answer.error, ClientError) else answer.response
        date = response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
        with suppress(TypeError, ValueError, OverflowError):  # what is no date tells nothing
            # it has whole seconds, cut off: half of one more is as good a guess
            answer.skew_s = parsedate_to_datetime(date).timestamp() + 0.5 - (began + time.time()) / 2
        return answer

    # --- who asks, and whom ---

    def _access(self, described: _Answer) -> Iterator[Check]:
        where = f"{self._client.meta.endpoint_url}, region {self._region}"
        arn = self._given.split(":") if "StreamARN" in self._stream else []
        if isinstance(described.error, ClientError) and arn[3:] and arn[3] != self._region:
            yield Check(
                "endpoint", "fails", f"{where}; the stream's ARN is of {arn[3]}", f"use a client of the region {arn[3]}"
            )
        elif isinstance(described.error, NO_CREDENTIALS):
            yield Check("credentials", "fails", str(described.error), "configure credentials, or name another profile")
            return
        elif isinstance(described.error, BotoCoreError) and arn and not is_unreachable(described.error):
            yield Check("stream", "fails", described.reason, "give a stream's name or its ARN")
            return
        elif isinstance(described.error, BotoCoreError):
            yield Check(
                "endpoint", "fails", f"{where}: {described.reason}", "check region, endpoint, proxy and network"
            )
            return
        else:
            yield Check("endpoint", "ok", where)
        if described.code in BAD_CREDENTIALS:
            yield Check(
                "credentials", "fails", described.reason, "renew the credentials, and set the clock if it is off"
            )
        elif not isinstance(described.error, BotoCoreError):
            yield Check("credentials", "ok", "accepted")
        if described.code == NOT_FOUND:
            yield Check("stream", "fails", described.reason, "create it, or ask another region or account")
        elif described.is_final and described.code not in BAD_CREDENTIALS:
            yield Check("stream", "fails", described.reason)

    # --- what may be done ---

    def _dry_runs(self, listed: _Answer) -> Iterator[Check]:
        members = self._client.meta.service_model.operation_model("PutRecords").input_shape.members
        if "DryRun" not in members:
            yield Check("put", "warning", "not asked: this botocore knows no dry run", "upgrade boto3")
            return
        shards = listed.response.get("Shards") or [{"ShardId": ANY_SHARD}]
        read = self._ask(
            self._client.get_shard_iterator,
            ShardId=shards[0]["ShardId"],
            ShardIteratorType="LATEST",
            DryRun=True,
        )
        if read.code == WOULD_SUCCEED:
            yield Check("read", "ok", "allowed")
        elif read.code in DENIED:
            yield Check("read", "ok", "not allowed (kinesis:GetShardIterator), which putting does not need")
        host = f".{urlsplit(self._client.meta.endpoint_url).hostname}"
        if read.code != WOULD_SUCCEED and (read.error is None or not host.endswith(AWS_DOMAINS)):
            what = "not asked: this Kinesis has not shown that it knows dry runs, and else it would store the record"
            yield Check("put", "warning", what)
            return
        sleep(DRY_RUN_SECONDS)
        yield _put(
            self._ask(
                self._client.put_records, Records=[{"Data": b"", "PartitionKey": "shardpack-doctor"}], DryRun=True
            )
        )


def _put(answer: _Answer) -> Check:
    if answer.code == WOULD_SUCCEED:
        return Check("put", "ok", "allowed")
    if answer.error is None:
        return Check("put", "fails", "the service ignored DryRun: there may be an empty record in the stream now")
    if answer.code in DENIED:
        return Check("put", "fails", answer.reason, "allow kinesis:PutRecords")
    if answer.code in THROTTLED or is_transient(answer.error):
        return _not_known("put", answer, "PutRecords")
    return Check("put", "fails", answer.reason)


def _shards(listed: _Answer, summary: Mapping[str, Any] | None) -> Check:
    open_shards = "" if summary is None else f", {summary.get('OpenShardCount', 0):,} open"
    if listed.code in DENIED:
        return Check(
            "shards",
            "warning",
            f"{listed.reason}; records go one by one, in no order, and none is aggregated",
            "allow kinesis:ListShards",
        )
    if listed.error is not None or not listed.response.get("Shards"):
        return _not_known("shards", listed, "ListShards")
    return Check("shards", "ok", f"listed{open_shards}")


def _not_known(name: str, answer: _Answer, operation: str) -> Check:
    why = "the answer was cut off" if answer.error is None else answer.reason
    return Check(name, "warning", f"not known: {operation}: {why}", "ask again")


def _clock(skew_s: float) -> Check:
    off = f"{abs(skew_s):,.0f} s {'behind' if skew_s > 0 else 'ahead of'} the service's"
    if abs(skew_s) >= MOST_SKEW_SECONDS:
        return Check("clock", "fails", f"{off}, which refuses signatures", "set this machine's clock")
    if abs(skew_s) >= SKEW_SECONDS:
        return Check("clock", "warning", f"{off}; from 300 s on it refuses signatures", "set this machine's clock")
    return Check("clock", "ok", f"{off}" if abs(skew_s) >= 2 else "as the service's")


def _settings(summary: Mapping[str, Any]) -> Iterator[Check]:
    status = summary.get("StreamStatus", "")
    if status in {"ACTIVE", "UPDATING"}:
        yield Check("status", "ok", status)
    else:
        wait = "wait until it is ACTIVE" if status == "CREATING" else "use another stream"
        yield Check("status", "fails", status or "none", wait)
    yield _mode(summary)
    if summary.get("RecordDistributionStrategy") == "AUTO":
        yield Check(
            "distribution",
            "warning",
            "AUTO: keys are ignored, there is no order, and records are not aggregated, for the KCL would drop them",
            "for order, switch the stream to USER_PARTITION_KEY; where no KCL reads, aggregate_on_auto=True",
        )
    else:
        yield Check("distribution", "ok", "by partition key")
    limits = Limits.for_stream(summary)
    yield Check(
        "record limit",
        "ok",
        f"{limits.max_record_bytes // KIB:,} KiB a record, {limits.max_request_bytes // KIB:,} KiB a request",
    )
    yield _encryption(summary)
    hours = summary.get("RetentionPeriodHours", 0)
    yield Check("retention", "ok", f"{hours:,} hours")
    readers = [
        f"{summary[name]:,} {what}"
        for name, what in (
            ("ConsumerCount", "with enhanced fan-out"),
            ("QueueCount", "queues"),
            ("ChannelCount", "channels"),
        )
        if name in summary
    ]
    if readers:
        yield Check("consumers", "ok", ", ".join(readers))


def _mode(summary: Mapping[str, Any]) -> Check:
    mode = summary.get("StreamModeDetails", {}).get("StreamMode", "PROVISIONED")
    warm = summary.get("WarmThroughput", {})
    if "CurrentMiBps" in warm:
        target = f", on its way to {warm['TargetMiBps']:,}" if warm.get("TargetMiBps", 0) > warm["CurrentMiBps"] else ""
        return Check("mode", "ok", f"{mode}, warm for {warm['CurrentMiBps']:,} MiB/s{target}")
    if mode == "PROVISIONED":
        shards = summary.get("OpenShardCount", 0)
        return Check("mode", "ok", f"{mode}: {shards:,} MiB/s and {shards * 1000:,} Kinesis records/s at most")
    return Check("mode", "ok", mode)


def _encryption(summary: Mapping[str, Any]) -> Check:
    key = summary.get("KeyId", "")
    if summary.get("EncryptionType", "NONE") != "KMS":
        return Check("encryption", "ok", "none")
    if key.endswith(MANAGED_KEY):
        return Check("encryption", "ok", f"KMS, AWS's own key ({MANAGED_KEY})")
    return Check(
        "encryption",
        "warning",
        f"KMS, key {key}; a dry run does not tell whether it may be used",
        "make sure that kms:GenerateDataKey is allowed on the key",
    )
