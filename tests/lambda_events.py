"""Events as Lambda sends them, of any Kinesis records; and Lambda itself, as far as partial batch responses go."""

from __future__ import annotations

import base64
import copy
import json
from pathlib import Path

DATA = Path(__file__).with_name("data")
PLAIN = json.loads((DATA / "lambda_event.json").read_text())
"""The event of AWS's documentation: two plain records."""

VECTORS = {
    vector["name"]: vector
    for vector in map(json.loads, DATA.joinpath("kpl.jsonl").read_text(encoding="utf-8").splitlines())
}


def event_of(*datas: bytes) -> dict:
    """Return the documentation's event with these data instead of its own, a Kinesis record each."""
    records = []
    for i, data in enumerate(datas):
        record = copy.deepcopy(PLAIN["Records"][0])
        record["kinesis"]["data"] = base64.b64encode(data).decode()
        record["kinesis"]["sequenceNumber"] = str(int(record["kinesis"]["sequenceNumber"]) + i)
        record["eventID"] = f"shardId-000000000006:{record['kinesis']['sequenceNumber']}"
        records.append(record)
    return {"Records": records}


def aggregated(name: str) -> tuple[bytes, list[bytes]]:
    """Return an aggregated record of the vectors, and the data of its user records as its maker put them."""
    vector = VECTORS[name]
    return bytes.fromhex(vector["blob"]), [bytes.fromhex(data) for _, _, data, _ in vector["expect"]["records"]]


def sequence_numbers(event: dict) -> list[str]:
    return [record["kinesis"]["sequenceNumber"] for record in event["Records"]]


def retried(event: dict, response: dict) -> dict | None:
    """Return the event that Lambda sends next, if it does: all records from the lowest sequence number that failed.

    Source: Lambda developer guide, "Configuring partial batch response with Kinesis Data Streams and Lambda".
    """
    failed = [int(failure["itemIdentifier"]) for failure in response["batchItemFailures"]]
    if not failed:
        return None
    return {"Records": [r for r in event["Records"] if int(r["kinesis"]["sequenceNumber"]) >= min(failed)]}
