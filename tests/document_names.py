"""What the snippets of documents take as given: names that a reader's own program has.

A section's are those of `EVERYWHERE` and, where `OF_SECTION` has an entry for its document or its heading, what that
function makes against the local Kinesis that the environment names, which has the stream ``telemetry``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

DATA = Path(__file__).with_name("data")
EVERYWHERE = {"keys": ["device-7", "device-8"], "payloads": [b"21.5", b"19.0"]}
QUEUE = "arn:aws:kinesis:us-east-1:123456789012:queue/abcdef0123456789"

Names = dict[str, Any]


def a_client() -> Names:
    """Return a client, and an iterator at the beginning of a shard that has records."""
    import boto3  # noqa: PLC0415 - not every section needs it

    from shardpack import Producer  # noqa: PLC0415

    client = boto3.client("kinesis")
    with Producer("telemetry") as producer:
        place = producer.put("device-7", b"21.5").result()
        producer.put_many(["device-7", "device-7"], [b"21.6", b"21.7"])
    where = client.get_shard_iterator(StreamName="telemetry", ShardId=place.shard_id, ShardIteratorType="TRIM_HORIZON")
    return {"client": client, "iterator": where["ShardIterator"], "shard_id": place.shard_id}


def a_client_with(data: bytes) -> Names:
    """Return a client, and an iterator at the last record of a shard, which has these data."""
    import boto3  # noqa: PLC0415

    from shardpack import Producer  # noqa: PLC0415

    client = boto3.client("kinesis")
    with Producer("telemetry") as producer:
        place = producer.put("device-7", data).result()
    where = client.get_shard_iterator(
        StreamName="telemetry",
        ShardId=place.shard_id,
        ShardIteratorType="AT_SEQUENCE_NUMBER",
        StartingSequenceNumber=place.sequence_number,
    )
    return {"client": client, "iterator": where["ShardIterator"]}


def a_response() -> Names:
    """Return a client, and what it answered."""
    names = a_client()
    return {**names, "response": names["client"].get_records(ShardIterator=names["iterator"])}


def all_responses() -> Names:
    """Return a client, and a response of every shard of the stream."""
    from shardpack import Boto3Transport, deaggregate  # noqa: PLC0415

    client = a_client()["client"]
    responses = {}
    for shard in client.list_shards(StreamName="telemetry")["Shards"]:
        where = client.get_shard_iterator(
            StreamName="telemetry", ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )
        responses[shard["ShardId"]] = client.get_records(ShardIterator=where["ShardIterator"])
    return {
        "client": client,
        "responses": responses,
        "Boto3Transport": Boto3Transport,
        "deaggregate": deaggregate,
    }


def dictionaries() -> Names:
    """Put a dictionary into a folder, a bucket and a table; return a client of a stream, and a payload."""
    import os  # noqa: PLC0415

    import boto3  # noqa: PLC0415
    from payloads import dictionary  # noqa: PLC0415 - zstd, where a document needs it

    from shardpack.codec import DictionaryCodec  # noqa: PLC0415

    folder = Path("dictionaries")
    folder.mkdir(exist_ok=True)
    folder.joinpath("telemetry.dict").write_bytes(dictionary())
    codec = DictionaryCodec(dictionary())
    at = {"endpoint_url": os.environ["AWS_ENDPOINT_URL_KINESIS"]}
    os.environ.update({f"AWS_ENDPOINT_URL_{service}": at["endpoint_url"] for service in ("S3", "DYNAMODB")})
    bucket, table = boto3.client("s3", **at), boto3.client("dynamodb", **at)
    if not bucket.list_buckets().get("Buckets"):
        bucket.create_bucket(Bucket="dictionaries")
        bucket.put_object(Bucket="dictionaries", Key=f"{codec.dictionary_id}.dict", Body=dictionary())
        table.create_table(
            TableName="dictionaries",
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "N"}],
            BillingMode="PAY_PER_REQUEST",
        )
        item = {"id": {"N": str(codec.dictionary_id)}, "content": {"B": dictionary()}}
        table.put_item(TableName="dictionaries", Item=item)
    payload = codec.encode(b'{"device": "device-7", "celsius": 21.5}')
    return {**a_client_with(b'{"celsius": 21.5}'), "payload": payload}


def a_bucket() -> Names:
    """Make a bucket for dead letters."""
    import os  # noqa: PLC0415

    import boto3  # noqa: PLC0415

    os.environ["AWS_ENDPOINT_URL_S3"] = os.environ["AWS_ENDPOINT_URL_KINESIS"]
    boto3.client("s3").create_bucket(Bucket="my-bucket")
    return {}


def a_stream_of_dead_letters() -> Names:
    """Make a stream with a dead letter."""
    import boto3  # noqa: PLC0415
    from letters import letter  # noqa: PLC0415

    from shardpack.dead_letters import KinesisDeadLetters  # noqa: PLC0415
    from shardpack.testing.local_kinesis import wait_until_active  # noqa: PLC0415

    client = boto3.client("kinesis")
    if "telemetry-dead" not in client.list_streams()["StreamNames"]:
        client.create_stream(StreamName="telemetry-dead", ShardCount=1)
        wait_until_active(client, "telemetry-dead")
    KinesisDeadLetters("telemetry-dead", client).put([letter()])
    return {}


def objects() -> Names:
    """Return a client, and an iterator at the beginning of a shard that has objects."""
    return a_client_with(b'{"celsius": 21.5}')


def columns() -> Names:
    """Return what a reader of a shard has, and the number of a user record."""
    from shardpack import deaggregate_columns  # noqa: PLC0415

    return {**a_client(), "deaggregate_columns": deaggregate_columns, "i": 0}


def data_frames() -> Names:
    """Return a response, and the libraries that read Arrow."""
    import duckdb  # noqa: PLC0415
    import polars  # noqa: ICN001, PLC0415 - as documents call it
    import pyarrow  # noqa: ICN001, PLC0415

    from shardpack import deaggregate_arrow  # noqa: PLC0415

    libraries = {"duckdb": duckdb, "polars": polars, "pyarrow": pyarrow}
    return {**a_response(), **libraries, "deaggregate_arrow": deaggregate_arrow}


def a_function() -> Names:
    """Return what a Lambda function has, and a client that takes its settings as the service's model has them."""
    import boto3  # noqa: PLC0415
    from botocore.stub import ANY, Stubber  # noqa: PLC0415

    client = boto3.client("lambda")
    uuid, arn = "6f2a1c9e-1111-2222-3333-444455556666", "arn:aws:sqs:us-east-1:123456789012:left"
    stubber = Stubber(client)
    asked = ("FunctionResponseTypes", "BisectBatchOnFunctionError", "MaximumRetryAttempts", "DestinationConfig")
    stubber.add_response("update_event_source_mapping", {}, {"UUID": uuid, **dict.fromkeys(asked, ANY)})
    stubber.activate()
    stored: list[tuple[str, bytes]] = []
    return {
        "store": lambda key, data: stored.append((key, data)),
        "lambda_client": client,
        "uuid": uuid,
        "queue_arn": arn,
        "event": json.loads(DATA.joinpath("lambda_event.json").read_text()),
    }


def a_transformation() -> Names:
    """Return a client of Firehose that takes its settings as the service's model has them."""
    import boto3  # noqa: PLC0415
    from botocore.stub import Stubber  # noqa: PLC0415

    client = boto3.client("firehose")
    stubber = Stubber(client)
    stubber.add_response("update_destination", {})
    stubber.activate()
    return {
        "firehose": client,
        "version_id": "1",
        "destination_id": "destination-1",
        "function_arn": "arn:aws:lambda:f",
    }


def a_queue() -> Names:
    """Return a client of a queue with one record, by the service's model: no local Kinesis knows queues."""
    import boto3  # noqa: PLC0415
    from botocore.stub import ANY, Stubber  # noqa: PLC0415

    client = boto3.client("kinesis")
    stubber = Stubber(client)
    record = {"ReceiptHandle": "receipt", "RecordId": "record", "PartitionKey": "device-7", "Data": b"21.5"}
    received = {**record, "ApproximateArrivalTimestamp": 0, "FirstReceiveTimestamp": 0, "ReceiveCount": 1}
    stubber.add_response("receive_queue_records", {"QueueRecords": [received]})
    done = {"Successful": [{"ReceiptHandle": "receipt"}], "Failed": []}
    stubber.add_response("acknowledge_queue_records", done, {"QueueARN": QUEUE, "Entries": ANY})
    stubber.activate()
    turns = iter([True, False])
    return {
        "client": client,
        "queue_arn": QUEUE,
        "running": lambda: next(turns),
        "store": lambda _key, _data: None,
    }


def a_subscriber() -> Names:
    """Return a client whose subscription ends after two events, one of them without records, as boto3 gives them."""
    records = a_response()["response"]["Records"]
    about = {"ContinuationSequenceNumber": records[-1]["SequenceNumber"], "MillisBehindLatest": 0}
    events = [{"SubscribeToShardEvent": {"Records": given, **about}} for given in (records, [])]
    stored: list[tuple[str, bytes]] = []
    return {
        "client": SimpleNamespace(subscribe_to_shard=lambda **_: {"EventStream": iter(events)}),
        "consumer_arn": "arn:aws:kinesis:us-east-1:123456789012:stream/telemetry/consumer/c:1",
        "shard_id": "shardId-000000000000",
        "last_sequence_number": "0",
        "store": lambda key, data: stored.append((key, data)),
    }


def a_handler() -> Names:
    """Return a function that handles every batch."""
    return {"write": lambda _batch: None}


def a_producer() -> Names:
    """Return a producer that has put something, and a program that serves for a minute that passes at once."""
    from shardpack import Producer  # noqa: PLC0415

    with Producer("telemetry") as producer:
        producer.put("device-7", b"21.5")
    turns = iter([True, False])
    clock = SimpleNamespace(sleep=lambda _seconds: None, time=time.time)
    return {"producer": producer, "serving": lambda: next(turns), "time": clock}


def installed() -> Names:
    """Return a client, and the package."""
    import shardpack  # noqa: PLC0415

    return {**a_client(), "shardpack": shardpack}


def an_upsert() -> Names:
    """Return what takes rows."""
    return {"upsert": list}


def a_table() -> Names:
    """Return what takes changes, and fill the stream ``changes`` with some."""
    import boto3  # noqa: PLC0415

    client = boto3.client("kinesis")
    client.create_stream(StreamName="changes", ShardCount=1)
    client.get_waiter("stream_exists").wait(StreamName="changes", WaiterConfig={"Delay": 1})
    rows: dict[str, Any] = {}
    for at, total in enumerate(("7", "8", None)):
        item = {"id": {"S": "a"}} | ({"total": {"N": total}} if total else {})
        change = {"ApproximateCreationDateTime": at, "Keys": {"id": {"S": "a"}}, "NewImage": item}
        event = {"eventName": "MODIFY" if total else "REMOVE", "tableName": "orders", "dynamodb": change}
        client.put_record(StreamName="changes", PartitionKey="a", Data=json.dumps(event).encode())
    return {
        "put": lambda _table, key, row, _at: rows.update({key["id"]["S"]: row}),
        "delete": lambda _table, key, _at: rows.pop(key["id"]["S"], None),
    }


OF_SECTION: dict[tuple[str, str], Callable[[], Names]] = {
    ("README.md", "Consuming"): data_frames,
    ("docs/consume/arrow.md", "Columns"): columns,
    ("docs/consume/arrow.md", "Arrow"): data_frames,
    ("docs/consume/boto3.md", "An existing client of boto3 or aiobotocore"): installed,
    ("docs/consume/combine.md", "(top)"): an_upsert,
    ("docs/consume/combine.md", "Change events: a copy of a table"): a_table,
    ("docs/consume/fan-out.md", "(top)"): a_subscriber,
    ("docs/consume/firehose.md", "(top)"): a_transformation,
    ("docs/consume/handlers.md", "What follows an error"): a_handler,
    ("docs/consume/lambda.md", "(top)"): a_function,
    ("docs/consume/payloads.md", "(top)"): objects,
    ("docs/consume/payloads.md", "With a dictionary"): dictionaries,
    ("docs/consume/payloads.md", "Where dictionaries are"): dictionaries,
    ("docs/decide/compression.md", "Each record with a dictionary"): dictionaries,
    ("docs/consume/queues.md", "(top)"): a_queue,
    ("docs/consume/shapes.md", "After resharding: what the KCL leaves out"): all_responses,
    ("docs/ingest/tenants.md", "Reading"): a_response,
    ("docs/ingest/tenants.md", "A stream for each tenant"): a_client,
    ("docs/operate/dead-letters.md", "In S3"): a_bucket,
    ("docs/operate/dead-letters.md", "In another stream"): a_stream_of_dead_letters,
    ("docs/operate/metrics.md", "Exporters"): a_producer,
    ("docs/operate/resharding.md", "In code"): a_client,
}


def names_of(document: str, heading: str) -> Names:
    """Return the names that the snippets of a section take as given."""
    return {**EVERYWHERE, **OF_SECTION.get((document, heading), dict)()}
