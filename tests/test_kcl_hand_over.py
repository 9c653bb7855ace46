"""From the KCL to here and back: its lease table as it wrote it, and the real KCL, where Java and its jars are."""

from __future__ import annotations

import json
import time
from itertools import count

import pytest
from kcl_reader import RECORDED, Read, put, read_with_kcl, split, why_not
from other_kinesis import kinesis_local

from shardpack import Boto3Transport
from shardpack.consume.stream.checkpoints import Checkpoint, CheckpointError
from shardpack.consume.stream.dynamodb_checkpoints import DynamoDBCheckpoints
from shardpack.consume.stream.reader import StreamReader
from shardpack.consume.stream.shards import ListedShard

NUMBERS = count(1)
OF_ITS_OWN = {"leaseCounter", "leaseOwner"}
"""What differs from reader to reader, besides attributes of ours."""


@pytest.fixture
def recorded():
    return json.loads(RECORDED.read_text())


@pytest.fixture
def store(dynamodb):
    return DynamoDBCheckpoints(f"kcl-{next(NUMBERS)}", client=dynamodb, create=True, lease_s=0.2)


def rows_of(dynamodb, table) -> dict[str, dict]:
    return {row["leaseKey"]["S"]: row for row in dynamodb.scan(TableName=table)["Items"]}


def test_the_table_that_the_kcl_wrote_is_read(store, dynamodb, recorded):
    for row in recorded["rows"]:
        dynamodb.put_item(TableName=store.table, Item=row)
    assert {row.get("entityType", {}).get("S") for row in recorded["rows"]} > {"LEASE"}  # and what is none
    claimed = store.claim("telemetry", "a reader")
    read_last = {shard_id: Checkpoint(number, sub) for shard_id, (number, sub) in recorded["read_last"].items()}
    for shard_id, checkpoint in claimed.items():
        assert checkpoint == read_last.get(shard_id, Checkpoint("TRIM_HORIZON"))
    assert any(one.sub_sequence_number for one in read_last.values())
    after = rows_of(dynamodb, store.table)
    for row in recorded["rows"]:
        now = after[row["leaseKey"]["S"]]
        if row.get("entityType", {}).get("S") == "LEASE":
            assert now["leaseOwner"]["S"] == "a reader"
            assert int(now["leaseCounter"]["N"]) == int(row["leaseCounter"]["N"]) + 1
            assert int(now["ownerSwitchesSinceCheckpoint"]["N"]) == 1
        else:
            assert now == row


def test_the_table_that_is_written_is_as_the_kcl_writes_it(store, dynamodb, recorded):
    leases = [row for row in recorded["rows"] if row.get("entityType", {}).get("S") == "LEASE"]
    store.claim("telemetry", "a reader")
    store.begin(
        {
            ListedShard(
                row["leaseKey"]["S"], int(row["startingHashKey"]["S"]), int(row["endingHashKey"]["S"])
            ): Checkpoint("TRIM_HORIZON")
            for row in leases
        }
    )
    store.write({shard_id: Checkpoint(number, sub) for shard_id, (number, sub) in recorded["read_last"].items()})
    written = rows_of(dynamodb, store.table)
    assert written.keys() == {row["leaseKey"]["S"] for row in leases}
    for row in leases:
        ours = {name: value for name, value in written[row["leaseKey"]["S"]].items() if "shardpack" not in name}
        assert {**ours, **dict.fromkeys(OF_ITS_OWN)} == {**row, **dict.fromkeys(OF_ITS_OWN)}
        assert {name: [*ours[name]] for name in OF_ITS_OWN} == {"leaseCounter": ["N"], "leaseOwner": ["S"]}


def test_a_shard_that_ends_is_left_as_the_kcl_leaves_it(store, dynamodb):
    parent = ListedShard("shardId-000000000000", 0, 2**128 - 1)
    children = [
        ListedShard("shardId-000000000001", 0, 2**127 - 1, (parent.shard_id,)),
        ListedShard("shardId-000000000002", 2**127, 2**128 - 1, (parent.shard_id,)),
    ]
    store.claim("s", "a")
    store.begin({parent: Checkpoint("TRIM_HORIZON")})
    store.begin(dict.fromkeys(children, Checkpoint("TRIM_HORIZON")))
    store.write({parent.shard_id: Checkpoint("SHARD_END")})
    rows = rows_of(dynamodb, store.table)
    ended = rows[parent.shard_id]
    assert ended["checkpoint"] == {"S": "SHARD_END"}
    assert ended["checkpointSubSequenceNumber"] == {"N": "0"}
    assert sorted(ended["childShardIds"]["SS"]) == [child.shard_id for child in children]
    assert "leaseOwner" not in ended
    for child in children:
        assert rows[child.shard_id]["parentShardId"] == {"SS": [parent.shard_id]}
        assert rows[child.shard_id]["checkpoint"] == {"S": "TRIM_HORIZON"}
    store.renew()
    assert rows_of(dynamodb, store.table)[parent.shard_id] == ended  # which nobody has any more


def test_a_pending_checkpoint_is_cleared_as_the_kcl_does(store, dynamodb, recorded):
    [row, *_] = [row for row in recorded["rows"] if row.get("entityType", {}).get("S") == "LEASE"]
    pending = {
        "pendingCheckpoint": {"S": "99"},
        "pendingCheckpointSubSequenceNumber": {"N": "1"},
        "pendingCheckpointState": {"B": b"x"},
        "throughputKBps": {"N": "12.5"},
    }
    dynamodb.put_item(TableName=store.table, Item=row | pending)
    shard_id = row["leaseKey"]["S"]
    [before] = store.claim("telemetry", "a").values()
    assert before.sequence_number == row["checkpoint"]["S"]
    store.write({shard_id: Checkpoint("1000", 2)})
    now = rows_of(dynamodb, store.table)[shard_id]
    assert not [name for name in now if name.startswith("pending")]
    assert now["throughputKBps"] == {"N": "12.5"}
    assert now["ownerSwitchesSinceCheckpoint"] == {"N": "0"}


def test_what_the_kcl_moved_on_has_no_time_of_ours(store, dynamodb):
    store.claim("s", "a")
    store.begin({ListedShard("shard", 0, 1): Checkpoint("1", 0, 5.0)})
    store.release()
    dynamodb.update_item(  # as its updateLease does
        TableName=store.table,
        Key={"leaseKey": {"S": "shard"}},
        AttributeUpdates={"checkpoint": {"Value": {"S": "2"}, "Action": "PUT"}},
    )
    assert store.claim("s", "a") == {"shard": Checkpoint("2")}


def test_leases_of_several_streams_are_refused(store, dynamodb):
    lease = {"leaseKey": {"S": "1:s:2:shard"}, "streamName": {"S": "1:s:2"}, "leaseCounter": {"N": "0"}}
    dynamodb.put_item(TableName=store.table, Item=lease | {"checkpoint": {"S": "LATEST"}})
    with pytest.raises(CheckpointError, match=r"1:s:2:shard' is a lease of a KCL application of several streams"):
        store.claim("s", "a")


# --- the real KCL ---


@pytest.fixture
def kcl():
    if why_not():
        pytest.skip(why_not())


def read_here(client, stream, store, most: int) -> list[Read]:
    """Read so many user records, and checkpoint the last one of each shard."""
    found: list[Read] = []
    with StreamReader(stream, client=client, checkpoints=store, until="latest") as reader:
        for batch in reader:
            records = batch.records[: most - len(found)]
            if not records:
                break
            found += [
                Read(batch.shard_id, str(one.sequence_number), int(one.sub_sequence_number or 0), one.data)
                for one in records
            ]
            batch.checkpoint(records[-1])
    return found


def in_order(reads: list[Read]) -> list[tuple[str, int, int]]:
    return [(one.shard_id, int(one.sequence_number), one.sub_sequence_number) for one in reads]


@pytest.mark.usefixtures("kcl")
def test_there_and_back_at_the_same_user_record(local_kinesis, dynamodb):
    client, stream = local_kinesis.client(), f"kcl-{next(NUMBERS)}"
    local_kinesis.create_stream(stream, 1)
    datas = put(client, stream, 0, 70)
    store = DynamoDBCheckpoints(stream, client=dynamodb, lease_s=4.0)  # the table is the KCL's
    reads = [
        read_with_kcl(local_kinesis.endpoint_url, stream, stream, 17),
        read_here(client, stream, store, 16),
        read_with_kcl(local_kinesis.endpoint_url, stream, stream, 18),
        read_here(client, stream, store, 100),
    ]
    assert [len(one) for one in reads] == [17, 16, 18, 19]
    assert reads[0][-1].sub_sequence_number
    assert reads[1][-1].sub_sequence_number
    everything = [read for some in reads for read in some]
    assert [read.data for read in everything] == datas
    assert in_order(everything) == sorted(in_order(everything))


@pytest.mark.usefixtures("kcl")
def test_the_kcl_goes_on_with_the_children_of_a_shard_that_was_read_here(local_kinesis, dynamodb):
    client, stream = local_kinesis.client(), f"kcl-{next(NUMBERS)}"
    local_kinesis.create_stream(stream, 1)
    before = put(client, stream, 0, 28)
    split(client, stream)
    store = DynamoDBCheckpoints(stream, client=dynamodb, create=True)
    assert [read.data for read in read_here(client, stream, store, 100)] == before
    after = put(client, stream, 28, 70)
    reads = read_with_kcl(local_kinesis.endpoint_url, stream, stream, len(after))
    assert sorted(int(read.data) for read in reads) == list(range(28, 70))
    assert {read.shard_id for read in reads} == {
        shard.shard_id for shard in Boto3Transport(client, stream).list_shards()
    }


@pytest.mark.usefixtures("kcl")
def test_the_children_of_a_shard_that_the_kcl_read_are_read_here(local_kinesis, dynamodb, tmp_path):
    """roto-server names no child shards, by which the KCL ends a shard; kinesis-local does, and has no DynamoDB."""
    with kinesis_local(tmp_path) as kinesis:
        client, stream = kinesis.client(), f"kcl-{next(NUMBERS)}"
        kinesis.create_stream(stream, 1)
        before = put(client, stream, 0, 28)

        def split_once_it_reads() -> None:
            # not before: kinesis-local lists the closed shard among the open ones, which the KCL refuses to begin with
            deadline = time.monotonic() + 60
            while not has_begun(dynamodb, stream):
                assert time.monotonic() < deadline
                time.sleep(0.2)
            split(client, stream)
            put(client, stream, 28, 70)

        by_kcl = read_with_kcl(
            kinesis.endpoint_url,
            stream,
            stream,
            35,
            leases_at=local_kinesis.endpoint_url,
            meanwhile=split_once_it_reads,
        )
        rows = rows_of(dynamodb, stream)
        parent = rows[by_kcl[0].shard_id]
        assert parent["checkpoint"] == {"S": "SHARD_END"}
        children = parent["childShardIds"]["SS"]
        assert {rows[child]["parentShardId"]["SS"][0] for child in children} == {by_kcl[0].shard_id}
        here = read_here(client, stream, DynamoDBCheckpoints(stream, client=dynamodb, lease_s=4.0), 100)
        both = by_kcl + here
        assert [read.data for read in both[:28]] == before
        assert sorted(int(read.data) for read in both) == list(range(70))
        assert {read.shard_id for read in here} <= {*children}
        for child in children:
            of_it = in_order([read for read in both if read.shard_id == child])
            assert of_it == sorted(of_it)


def has_begun(dynamodb, table) -> bool:
    """Whether the KCL has kept a checkpoint behind where a shard begins."""
    try:
        rows = rows_of(dynamodb, table)
    except dynamodb.exceptions.ResourceNotFoundException:
        return False
    return any(row.get("checkpoint", {}).get("S") not in {None, "TRIM_HORIZON"} for row in rows.values())
