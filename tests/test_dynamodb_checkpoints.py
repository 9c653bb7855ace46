"""Checkpoints in DynamoDB: who has them, when another reader takes them, and calls that fail."""

from __future__ import annotations

import random
import threading
from datetime import datetime, timezone
from itertools import count

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from shardpack.consume.stream.checkpoints import (
    Checkpoint,
    CheckpointError,
    CheckpointsInUseError,
    CheckpointsLostError,
)
from shardpack.consume.stream.dynamodb_checkpoints import DynamoDBCheckpoints
from shardpack.consume.stream.lease_table import TRY_SECONDS
from shardpack.consume.stream.shards import ListedShard

NUMBERS = count(1)
SHARDS = [ListedShard(f"shardId-{i:012}", i, i) for i in range(12)]
HORIZON = Checkpoint("TRIM_HORIZON")


class FakeClock:
    """Passes while somebody sleeps; ``meanwhile`` is what others do then."""

    def __init__(self) -> None:
        self.now = 0.0
        self.meanwhile = lambda: None

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.meanwhile()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def table(dynamodb) -> str:
    name = f"leases-{next(NUMBERS)}"
    DynamoDBCheckpoints(name, client=dynamodb, create=True)
    return name


@pytest.fixture
def reader(dynamodb, table, clock):
    """Make a store: another one each time, as another process would have."""

    def reader(client=dynamodb, **options) -> DynamoDBCheckpoints:
        return DynamoDBCheckpoints(table, client=client, _clock=clock, **options)

    return reader


def rows_of(dynamodb, table) -> dict[str, dict]:
    return {row["leaseKey"]["S"]: row for row in dynamodb.scan(TableName=table)["Items"]}


# --- whose they are ---


def test_while_a_reader_renews_no_other_has_its_checkpoints(reader, clock):
    first, second = reader(), reader()
    first.claim("s", "host:1")
    first.begin(dict.fromkeys(SHARDS, HORIZON))
    clock.meanwhile = first.renew
    with pytest.raises(CheckpointsInUseError, match=r"in use by host:1, which renewed shardId-0+ less than 2 s ago"):
        second.claim("s", "host:2")
    assert clock.now == 2.0  # a fifth of the lease
    first.write({SHARDS[0].shard_id: Checkpoint("1")})


def test_a_reader_that_is_gone_is_waited_for_and_then_followed(reader, clock, dynamodb, table):
    first, second = reader(), reader(lease_s=30.0)
    first.claim("s", "host:1")
    first.begin(dict.fromkeys(SHARDS, Checkpoint("7", 2)))
    assert second.claim("s", "host:2") == {shard.shard_id: Checkpoint("7", 2) for shard in SHARDS}
    assert clock.now == pytest.approx(30.0)
    for row in rows_of(dynamodb, table).values():
        assert (row["leaseOwner"]["S"], row["ownerSwitchesSinceCheckpoint"]["N"]) == ("host:2", "1")


def test_released_checkpoints_are_not_waited_for(reader, clock):
    first = reader()
    first.claim("s", "host:1")
    first.begin(dict.fromkeys(SHARDS, HORIZON))
    first.release()
    assert len(reader().claim("s", "host:2")) == len(SHARDS)
    assert clock.now == 0.0


def test_a_reader_that_gives_them_up_meanwhile_is_not_waited_for(reader, clock):
    first = reader()
    first.claim("s", "host:1")
    first.begin({SHARDS[0]: HORIZON})
    clock.meanwhile = first.release
    reader().claim("s", "host:2")
    assert clock.now == 2.0


@pytest.mark.parametrize("name", ["host:2", "host:1"])  # nor by another of the same name
def test_who_has_lost_them_writes_nothing_any_more(reader, dynamodb, table, name):
    first, second = reader(), reader()
    first.claim("s", "host:1")
    first.begin(dict.fromkeys(SHARDS[:2], HORIZON))
    second.claim("s", name)
    before = rows_of(dynamodb, table)
    for change in (
        lambda: first.write({SHARDS[0].shard_id: Checkpoint("9")}),
        lambda: first.write({SHARDS[0].shard_id: Checkpoint("SHARD_END")}),
        first.renew,
        lambda: first.begin({SHARDS[1]: HORIZON}),
        lambda: first.replace({SHARDS[1]: HORIZON}),
        lambda: first.forget([SHARDS[1].shard_id]),
    ):
        with pytest.raises(CheckpointsLostError, match=f"was taken by {name}"):
            change()
    first.release()
    assert rows_of(dynamodb, table) == before
    second.write({SHARDS[0].shard_id: Checkpoint("8")})


def test_of_readers_that_claim_at_once_one_has_them(reader):
    first = reader()
    first.claim("s", "before")
    first.begin(dict.fromkeys(SHARDS, HORIZON))
    first.release()
    stores = [reader() for _ in range(4)]
    together, claimed, refused = threading.Barrier(4), [], []

    def claim(store: DynamoDBCheckpoints, name: str) -> None:
        together.wait()
        try:
            store.claim("s", name)
            claimed.append(store)
        except CheckpointsInUseError:
            refused.append(name)

    threads = [threading.Thread(target=claim, args=(store, f"host:{i}")) for i, store in enumerate(stores)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [winner] = claimed  # the lease of 10 s does not pass: the clock is ours
    assert len(refused) == 3
    winner.write({shard.shard_id: Checkpoint("1") for shard in SHARDS})


@pytest.mark.parametrize("seed", range(4))
def test_two_readers_never_both_write(reader, dynamodb, table, seed):
    """Two readers take the leases from each other at random moments of each other's calls; positions never go back."""
    chance = random.Random(seed)
    stores = [reader(lease_s=0.01), reader(lease_s=0.01)]
    holder: list[int | None] = [None, None]
    for number in range(1, 60):
        which = chance.randrange(2)
        store, other = stores[which], stores[1 - which]
        if holder[which] is None:
            store.release()
            store.claim("s", f"host:{which}")
            holder = [None, None]
            holder[which] = 1
            store.begin({SHARDS[0]: HORIZON})
        before = rows_of(dynamodb, table)[SHARDS[0].shard_id]
        with pytest.raises(CheckpointsLostError):
            other.write({SHARDS[0].shard_id: Checkpoint(str(number + 1000))})
        assert rows_of(dynamodb, table)[SHARDS[0].shard_id] == before
        store.write({SHARDS[0].shard_id: Checkpoint(str(number))})
    assert rows_of(dynamodb, table)[SHARDS[0].shard_id]["checkpoint"]["S"] == "59"


def test_a_row_that_was_deleted(reader, dynamodb, table):
    store = reader()
    store.claim("s", "a")
    store.begin({SHARDS[0]: HORIZON})
    dynamodb.delete_item(TableName=table, Key={"leaseKey": {"S": SHARDS[0].shard_id}})
    with pytest.raises(CheckpointsLostError, match=r"the row of shardId-0+ was deleted by others"):
        store.write({SHARDS[0].shard_id: Checkpoint("1")})
    with pytest.raises(CheckpointsLostError, match="deleted"):
        store.renew()


def test_a_table_of_another_stream_is_refused(reader):
    store = reader()
    store.claim("arn:aws:kinesis:us-east-1:123456789012:stream/telemetry", "a")
    store.begin({SHARDS[0]: HORIZON})
    store.release()
    with pytest.raises(CheckpointError, match=r"are of arn:.*telemetry, not of flights"):
        reader().claim("flights", "a")
    reader().claim("telemetry", "a")  # its name


def test_what_cannot_be_read_is_named(reader, dynamodb, table):
    dynamodb.put_item(TableName=table, Item={"leaseKey": {"S": "odd"}})
    with pytest.raises(CheckpointError, match="the row 'odd' is no lease of the KCL"):
        reader().claim("s", "a")
    item = {"leaseKey": {"S": "odd"}, "leaseCounter": {"N": "1"}, "checkpoint": {"S": "soon"}}
    dynamodb.put_item(TableName=table, Item=item)
    with pytest.raises(CheckpointError, match="the checkpoint of odd cannot be read: 'soon' is no sequence number"):
        reader().claim("s", "a")


def test_the_time_of_at_timestamp_is_given(reader, dynamodb, table):
    item = {"leaseKey": {"S": "one"}, "leaseCounter": {"N": "1"}, "checkpoint": {"S": "AT_TIMESTAMP"}}
    dynamodb.put_item(TableName=table, Item=item)
    with pytest.raises(CheckpointError, match=r"one is to begin AT_TIMESTAMP.* at_timestamp="):
        reader().claim("s", "a")
    moment = datetime(2026, 1, 31, tzinfo=timezone.utc)
    [one] = reader(at_timestamp=moment).claim("s", "a").values()
    assert one == Checkpoint("AT_TIMESTAMP", read_up_to=moment.timestamp())


def test_options_that_are_none(dynamodb):
    for wrong in ({"lease_s": 0}, {"at_timestamp": datetime(2026, 1, 31)}, {"consumer": "a b"}):  # noqa: DTZ001
        with pytest.raises(ValueError, match=r"lease_s of 0|no time zone|no name of a DynamoDB table"):
            DynamoDBCheckpoints("table", client=dynamodb, **wrong)
    for name in ("ab", "a" * 256):
        with pytest.raises(ValueError, match="3 to 255"):
            DynamoDBCheckpoints(name, client=dynamodb)
    DynamoDBCheckpoints("abc", client=dynamodb)
    with pytest.raises(CheckpointError, match=r"abc: no such DynamoDB table; create=True makes it"):
        DynamoDBCheckpoints("abc", client=dynamodb).claim("s", "a")


# --- calls that fail ---


class Failing:
    """A client whose calls fail: ``before`` they are made, or once they were, when their answer is lost."""

    def __init__(self, client, errors=(), *, answered=False, page=None) -> None:
        self._client, self._errors, self._answered, self._page = client, iter(errors), answered, page
        self.calls = 0

    def __getattr__(self, name):
        def call(**parameters):
            self.calls += 1
            error = next(self._errors, None)
            if name == "scan" and self._page:
                parameters["Limit"] = self._page
            if error is None or self._answered:
                answer = getattr(self._client, name)(**parameters)
            if error is not None:
                raise error
            return answer

        return call


def throttled() -> ClientError:
    return ClientError({"Error": {"Code": "ProvisionedThroughputExceededException"}}, "UpdateItem")


def test_throttled_calls_are_made_again(reader, dynamodb, clock):
    store = reader()
    store.claim("s", "a")
    store.begin({SHARDS[0]: HORIZON})
    store._table.client = Failing(dynamodb, [throttled() for _ in range(6)])
    store.write({SHARDS[0].shard_id: Checkpoint("1")})
    assert store._table.client.calls == 7
    assert 0.05 * 63 / 2 - 0.8 <= clock.now <= 0.05 * 63


def test_calls_that_go_on_failing_are_given_up(reader, dynamodb, clock):
    store = reader()
    store.claim("s", "a")
    store.begin({SHARDS[0]: HORIZON})
    store._table.client = Failing(dynamodb, iter(throttled, None))
    with pytest.raises(ClientError, match="ProvisionedThroughputExceeded"):
        store.write({SHARDS[0].shard_id: Checkpoint("1")})
    assert TRY_SECONDS - 2 <= clock.now <= TRY_SECONDS
    clock.now = 0.0
    denied = ClientError({"Error": {"Code": "AccessDeniedException"}}, "UpdateItem")
    store._table.client = Failing(dynamodb, [denied])
    with pytest.raises(ClientError, match="AccessDenied"):
        store.renew()
    assert clock.now == 0.0


@pytest.mark.parametrize("end", ["5", "SHARD_END"])
def test_lost_answers(reader, dynamodb, end):
    """A change that was made, and whose answer was lost, is made again, and finds itself."""
    store = reader()

    def losing() -> None:
        store._table.client = Failing(dynamodb, [EndpointConnectionError(endpoint_url="x")], answered=True)

    losing()
    store.claim("s", "a")
    losing()
    store.begin({SHARDS[0]: HORIZON})
    losing()
    store.renew()
    losing()
    store.write({SHARDS[0].shard_id: Checkpoint(end)})
    assert [one.checkpoint for one in store.kept()] == [Checkpoint(end)]
    losing()
    store.release()
    store.claim("s", "b")
    losing()
    store.forget([SHARDS[0].shard_id])
    assert store.kept() == []


def test_pages(reader, dynamodb):
    store = reader(client=Failing(dynamodb, page=1))
    store.claim("s", "a")
    store.begin(dict.fromkeys(SHARDS, HORIZON))
    store.release()
    assert [*store.claim("s", "a")] == [shard.shard_id for shard in SHARDS]
