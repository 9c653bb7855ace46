"""A reader that ends while it enters its shards in DynamoDB, row by row: the next one passes nothing over."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from itertools import chain, combinations, count
from threading import Condition

import pytest

from shardpack.consume.stream import DynamoDBCheckpoints, StreamReader
from shardpack.consume.stream.checkpoints import Checkpoint
from shardpack.consume.stream.dynamodb_checkpoints import generations_of
from shardpack.consume.stream.shards import ListedShard
from shardpack.testing.local_kinesis import wait_until_active

NUMBERS = count(1)
QUARTER = 2**126
SHARDS = [f"shardId-{i:012}" for i in range(4)]
"""The first is split into the last two."""
SUBSETS = [*chain.from_iterable(combinations(SHARDS, size) for size in range(len(SHARDS) + 1))]


class KilledError(BaseException):
    """Where the first reader ends."""


class Dying:
    """A client of DynamoDB that writes the rows of these shards; whoever writes another is killed."""

    def __init__(self, client, survivors) -> None:
        self._client, self._survivors, self.dead = client, survivors, False
        self.written: set[str] = set()

    def __getattr__(self, name):
        def call(**parameters):
            shard_id = parameters.get("Item", {}).get("leaseKey", {}).get("S")
            if name == "put_item" and shard_id in self._survivors:
                self.written.add(shard_id)
            elif name not in ("describe_table", "create_table", "scan") or self.dead:
                self.dead = True
                raise KilledError
            return getattr(self._client, name)(**parameters)

        return call


class Clock:
    """Time that passes only where somebody waits."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    time = staticmethod(time.time)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def wait(self, condition: Condition, seconds: float | None) -> None:
        if seconds is None:
            condition.wait()
        else:
            self.now += seconds


def put(client, stream, data):
    """Put a record into each quarter of the hash keys."""
    for quarter in range(4):
        client.put_record(
            StreamName=stream, PartitionKey="k", Data=data + b"%d" % quarter, ExplicitHashKey=str(quarter * QUARTER)
        )


def split(client, stream, shard_id, at):
    client.split_shard(StreamName=stream, ShardToSplit=shard_id, NewStartingHashKey=str(at))
    wait_until_active(client, stream)


def of(*names):
    return sorted(b"%b%d" % (name, quarter) for name in names for quarter in range(4))


@pytest.mark.parametrize("start", ["trim_horizon", "latest", "time"])
def test_whichever_rows_are_written(local_kinesis, dynamodb, start):
    client, stream = local_kinesis.client(), f"killed-{next(NUMBERS)}"
    local_kinesis.create_stream(stream, 2)
    put(client, stream, b"old")
    time.sleep(1.1)  # the service tells the time in whole seconds
    moment = datetime.now(timezone.utc)
    put(client, stream, b"parent")
    split(client, stream, SHARDS[0], QUARTER)
    put(client, stream, b"child")
    time.sleep(1.1)

    def read(table, table_client, start):
        clock = Clock()
        store = DynamoDBCheckpoints(table, client=table_client, create=True, _clock=clock)
        options = {"client": client, "until": "latest", "checkpoints": store, "max_concurrent_calls": 1}
        with StreamReader(stream, start=start, _clock=clock, **options) as reader:
            return sorted(record.data for batch in reader for record in batch.records)

    written = {}
    for survivors in SUBSETS:
        table = f"killed-{next(NUMBERS)}"
        dying = Dying(dynamodb, survivors)
        with pytest.raises(KilledError):
            read(table, dying, moment if start == "time" else start)
        written[table] = dying.written
    put(client, stream, b"later")
    split(client, stream, SHARDS[1], 3 * QUARTER)
    put(client, stream, b"new")
    now = datetime.now(timezone.utc)
    expected = {
        "trim_horizon": of(b"old", b"parent", b"child", b"later", b"new"),
        "latest": of(b"later", b"new"),
        "time": of(b"parent", b"child", b"later", b"new"),
    }[start]
    for table, rows in written.items():
        again = now if start == "time" else start  # one that asks for the last hour names another time
        found = read(table, dynamodb, again)
        assert found == (expected if rows or start == "trim_horizon" else []), rows
    assert set() in written.values()
    assert {*SHARDS[1:]} in written.values() or start != "latest"


def test_no_row_is_written_before_those_of_its_parents():
    def shard(number, *parents):
        return ListedShard(str(number), 0, 0, tuple(map(str, parents)))

    shards = [shard(6, 4, 5), shard(4, 1), shard(5, 1), shard(1, 0), shard(2)]
    assert [[int(one.shard_id) for one in each] for each in generations_of(shards)] == [[1, 2], [4, 5], [6]]
    assert [*generations_of([])] == []
    assert [*generations_of(circle := [shard(1, 2), shard(2, 1)])] == [circle]


def test_a_row_whose_parent_cannot_be_written_is_not(dynamodb):
    parent, child = ListedShard("parent", 0, 1), ListedShard("child", 0, 0, ("parent",))
    store = DynamoDBCheckpoints(
        table := f"killed-{next(NUMBERS)}", client=Dying(dynamodb, ["child"]), create=True, _clock=Clock()
    )
    store.claim("s", "a")
    with pytest.raises(KilledError):
        store.begin(dict.fromkeys([child, parent], Checkpoint("TRIM_HORIZON")))
    assert DynamoDBCheckpoints(table, client=dynamodb).kept() == []
