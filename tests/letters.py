"""Dead letters to test with, their file and stream, and what these hold."""

from __future__ import annotations

import hashlib
import uuid
from contextlib import closing

import pytest

from shardpack import DeadLetter, SQLiteDeadLetters


@pytest.fixture
def path(tmp_path):
    return tmp_path / "dead.db"


@pytest.fixture
def letters(path):
    with SQLiteDeadLetters(path) as letters:
        yield letters


@pytest.fixture
def stream(local_kinesis):
    name = f"letters-{uuid.uuid4()}"
    local_kinesis.create_stream(name, 4)
    return name


def letter(n=0, key="key", data=None, **fields):
    data = str(n).encode() if data is None else data
    given = {
        "stream": "telemetry",
        "partition_key": key,
        "data": data,
        "explicit_hash_key": None,
        "error_code": "InternalFailure",
        "message": "try again",
        "maybe_stored": False,
        "put_at": 1_700_000_000.25,
        "given_up_at": 1_700_000_060.5,
        "attempts": 7,
    }
    return DeadLetter(**given | fields)


def kept(path):
    with SQLiteDeadLetters(path) as letters:
        return [letter for _, letter in letters]


def put_numbered(letters, who, batches, size=5):
    for batch in range(batches):
        letters.put([letter(key=f"{who}", data=f"{batch}:{i}".encode()) for i in range(size)])


def numbered_batch(batch):
    """Letters whose data prove what they are, some of them larger than SQLite's pages."""
    size = 1 + batch % 7
    return [
        letter(key=f"{batch}/{i}/{size}", data=hashlib.sha512(f"{batch}/{i}".encode()).digest() * (1 + 40 * (i == 3)))
        for i in range(size)
    ]


def put_events(letters, keys, each, **fields):
    put = [letter(key=f"key-{k}", data=f"{k}:{i}".encode(), **fields) for i in range(each) for k in range(keys)]
    letters.put(put)
    return [(each.partition_key, each.data) for each in put]


def by_key(events):
    found = {}
    for key, data in events:
        found.setdefault(key, []).append(data)
    return found


def everything(client, stream):
    """Key and data of all that a stream holds."""
    from shardpack.consume.stream import StreamReader  # noqa: PLC0415

    return [
        (record.partition_key, record.data)
        for read in StreamReader(stream, client=client, until="latest", range_rule=False)
        for record in read.records
    ]


@pytest.fixture
def bucket(local_kinesis):
    """The name of a bucket beside the local Kinesis."""
    name = f"letters-{uuid.uuid4()}"
    s3_client(local_kinesis).create_bucket(Bucket=name)
    return name


@pytest.fixture
def s3(local_kinesis):
    with closing(s3_client(local_kinesis)) as client:
        yield client


def s3_client(local_kinesis):
    import boto3  # noqa: PLC0415 - the native tests have no local Kinesis

    from shardpack.testing.local_kinesis import session_of_defaults  # noqa: PLC0415

    session = boto3.session.Session(botocore_session=session_of_defaults())
    return session.client("s3", region_name="us-east-1", endpoint_url=local_kinesis.endpoint_url)


def reads(client, stream):
    """Shard ids and user records of all that a stream holds, as `drain` takes them, by the KCL's range rule."""
    from shardpack.consume.stream import StreamReader  # noqa: PLC0415

    for batch in StreamReader(stream, client=client, until="latest"):
        yield batch.shard_id, batch.records
