"""The default transport: any boto3 Kinesis client; credentials, retries, endpoints and proxies are the client's own."""

from __future__ import annotations

import encodings.idna  # noqa: F401 - else a first call does on its thread: in a process forked off meanwhile none ends
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..records import KinesisRecord
from ..shards import ShardMap
from . import Failed, Stored, StreamDescription, check_client, has_coroutines
from .answers import description_of
from .body import Bodies, forget_call, outcomes_of
from .list_shards import list_all_shards
from .naming import name_or_arn, stream_parameters


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings:
    """How a producer makes a boto3 client of its own: one in each process, for connections do not survive a fork.

    What is not given is found by boto3: region, endpoint, credentials, proxies.
    """

    region_name: str | None = None
    endpoint_url: str | None = None
    verify: bool | str | None = None
    """Whether certificates are verified, or the file of those that are trusted."""
    proxies: Mapping[str, str] | None = None
    connect_timeout_s: float = 6.0
    read_timeout_s: float = 6.0
    """How long nothing may come while an answer is waited for."""

    def client(self, max_connections: int) -> Any:
        """Return a client that makes each call once: who sends in order retries in order."""
        import boto3  # noqa: PLC0415 - only where it is used
        from botocore.config import Config  # noqa: PLC0415

        config = Config(
            retries={"total_max_attempts": 1},
            max_pool_connections=max_connections,
            connect_timeout=self.connect_timeout_s,
            read_timeout=self.read_timeout_s,
            tcp_keepalive=True,
            proxies=None if self.proxies is None else dict(self.proxies),
        )
        return boto3.client(
            "kinesis",
            region_name=self.region_name,
            endpoint_url=self.endpoint_url,
            verify=self.verify,
            config=config,
        )


class Boto3Transport:
    """Reach one stream through a boto3 Kinesis client.

    Give either ``stream_name`` or ``stream_arn``, which also reaches streams of other accounts; an ARN in place of the
    name is taken for one. ``stream_id`` is for a stream that has an id: botocore sends its calls to an endpoint of its
    own. ``wire="cbor"`` sends PutRecords in CBOR, a quarter fewer bytes; a service that does not read it gets JSON from
    the first refusal on. Safe from any thread, as boto3 clients are. Calls raise ``botocore.exceptions.ClientError``
    and its kin when a whole call fails, ``BrokenAnswerError`` when the answer was cut off: whether entries are stored
    is not known then.
    """

    def __init__(
        self,
        client: Any,
        stream_name: str | None = None,
        *,
        stream_arn: str | None = None,
        stream_id: str | None = None,
        wire: Literal["json", "cbor"] = "json",
    ) -> None:
        if has_coroutines(client):
            raise TypeError("the calls of aiobotocore's client are coroutines: AiobotocoreTransport and AsyncProducer")
        check_client(client)
        self._stream = stream_parameters(name_or_arn(stream_name, stream_arn), stream_id)
        self.client = client
        self._bodies = Bodies(client, wire)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._stream.get('StreamName') or self._stream.get('StreamARN'):.200}>"

    def put_records(self, entries: Sequence[KinesisRecord]) -> list[Stored | Failed]:
        """Send one PutRecords request. Returns an outcome for each entry, by position."""
        records = tuple(entries)
        given = self._bodies.records_of(records)
        try:
            response = self.client.put_records(Records=given, **self._stream)
        except Exception as error:
            if not self._bodies.can_be_sent_again(given, error):
                raise
            response = self.client.put_records(Records=self._bodies.records_of(records), **self._stream)
        finally:
            forget_call()
        return outcomes_of(response, len(records))

    def list_shards(self) -> ShardMap:
        """Return the open shards as they are now; follows every page."""
        return ShardMap.from_shards(list_all_shards(self.client, self._stream, {"Type": "AT_LATEST"}))

    def describe(self) -> StreamDescription:
        """Return the stream's limits and state, from DescribeStreamSummary."""
        return description_of(self.client.describe_stream_summary(**self._stream))
