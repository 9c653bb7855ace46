"""Change events folded, then applied, against each applied in turn."""

from __future__ import annotations

import json
import random
from contextlib import suppress
from datetime import datetime, timezone
from decimal import Decimal
from functools import partial
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from other_kinesis import ministack

from shardpack import deaggregate
from shardpack.consume import combine
from shardpack.consume.stream import StreamReader
from shardpack.errors import ChangeEventError


def apply(state, changes):
    """Write changes to a table, kept as a dict by table and key, as a database would."""
    for change in changes:
        row = change.table, json.dumps(change.key, sort_keys=True)
        if change.operation == "remove":
            state.pop(row, None)
        elif change.replaces:
            state[row] = change.image
        else:
            state[row] = {**state.get(row, {}), **change.image}
    return state


def without(event, *path):
    copy = json.loads(json.dumps(event))
    target = copy
    for name in path[:-1]:
        target = target[name]
    del target[path[-1]]
    return copy


# --- DynamoDB ---


def of_dynamodb(name, item_id, image=None, at=0, *, precision=None, table="orders"):
    body = {"ApproximateCreationDateTime": at, "Keys": {"id": {"S": item_id}}, "SizeBytes": 99}
    if image is not None:
        body["NewImage"] = {"id": {"S": item_id}, **image}
    if precision is not None:
        body["ApproximateCreationDateTimePrecision"] = precision
    return {
        "awsRegion": "us-east-1",
        "eventID": "6fa1",
        "eventName": name,
        "userIdentity": None,
        "recordFormat": "application/json",
        "tableName": table,
        "dynamodb": body,
        "eventSource": "aws:dynamodb",
    }


def user_records(datas):
    return deaggregate([{"Data": data, "PartitionKey": "k"} for data in datas])


def encoded(events):
    return [json.dumps(event).encode() for event in events]


items = st.lists(
    st.tuples(st.sampled_from("abc"), st.one_of(st.none(), st.integers(0, 9)), st.sampled_from(["orders", "users"])),
    max_size=25,
)


def events_of_items(history):
    """The events of what happened to items, each at a time of its own: INSERT, MODIFY or REMOVE as is due."""
    there, events = set(), []
    for at, (item, value, table) in enumerate(history):
        if value is None:
            if (table, item) in there:
                events.append(of_dynamodb("REMOVE", item, at=at, table=table))
            there.discard((table, item))
            continue
        name = "MODIFY" if (table, item) in there else "INSERT"
        events.append(of_dynamodb(name, item, {"v": {"N": str(value)}}, at, table=table))
        there.add((table, item))
    return events


def final_items(history):
    """What is there in the end, without events."""
    state = {}
    for item, value, table in history:
        if value is None:
            state.pop((table, item), None)
        else:
            state[table, item] = {"id": {"S": item}, "v": {"N": str(value)}}
    return {(table, json.dumps({"id": {"S": item}})): image for (table, item), image in state.items()}


@given(items, st.randoms(use_true_random=False), st.integers(1, 30))
@settings(max_examples=300, deadline=None)
def test_items_are_as_dynamodb_has_them_whatever_the_order(history, rng, size):
    events = events_of_items(history)
    mixed = [*events, *rng.choices(events, k=5)] if events else []  # some of them twice
    rng.shuffle(mixed)
    changes = combine.merge(encoded(mixed))
    assert apply({}, changes) == final_items(history)
    assert len({(change.table, str(change.key)) for change in changes}) == len(changes)
    assert sum(change.events for change in changes) == len(mixed)
    assert [change.at for change in changes] == sorted(change.at for change in changes)
    # In order, in batches, of which one is handled twice: what was inserted and removed is not forgotten.
    state, data = {}, encoded(events)
    cuts = range(0, len(data), size)
    for i in cuts:
        apply(state, combine.merge(data[i : i + size]))
        if i == cuts[-1] // size // 2 * size:
            apply(state, combine.merge(data[max(0, i - 3) : i + size]))
            apply(state, combine.merge(data[: i + size]))
    assert state == final_items(history)


def test_an_event_of_dynamodb():
    data = (
        b'{"awsRegion":"us-east-1","eventID":"0f2d","eventName":"MODIFY","userIdentity":null,'
        b'"recordFormat":"application/json","tableName":"Music","dynamodb":{"ApproximateCreationDateTime":'
        b'1691234567890123,"ApproximateCreationDateTimePrecision":"MICROSECOND","Keys":{"Artist":{"S":"A"},'
        b'"Year":{"N":"7"}},"NewImage":{"Artist":{"S":"A"},"Year":{"N":"7"},"Tags":{"SS":["x"]}},'
        b'"OldImage":{"Artist":{"S":"A"},"Year":{"N":"7"}},"SizeBytes":60},"eventSource":"aws:dynamodb"}'
    )
    [record] = user_records([data])
    [change] = combine.merge([record])
    assert change == combine.Change(
        "Music",
        {"Artist": {"S": "A"}, "Year": {"N": "7"}},
        "put",
        {"Artist": {"S": "A"}, "Year": {"N": "7"}, "Tags": {"SS": ["x"]}},
        True,
        datetime(2023, 8, 5, 11, 22, 47, 890123, tzinfo=timezone.utc),
        record,
        1,
    )


def test_equal_times_keep_the_order_of_the_stream():
    changes = combine.merge(
        encoded([of_dynamodb("INSERT", "a", {"v": {"N": "1"}}, 5), of_dynamodb("REMOVE", "a", at=5)])
    )
    assert [(change.operation, change.events) for change in changes] == [("remove", 2)]
    assert changes[0].at == datetime.fromtimestamp(0.005, timezone.utc)


def test_events_of_dynamodb_streams_count_in_the_order_of_their_sequence_numbers():
    events = []
    for number, (name, value) in enumerate((("INSERT", "1"), ("MODIFY", "2"), ("REMOVE", None), ("INSERT", "3"))):
        event = without(of_dynamodb(name, "a", None if value is None else {"v": {"N": value}}, 1479499740), "tableName")
        event["eventSourceARN"] = "arn:aws:dynamodb:us-east-1:123456789012:table/orders/stream/2026-11-26T16:25:24.975"
        event["dynamodb"]["SequenceNumber"] = f"{10**20 + number:030}"
        events.append(event)
    for seed in range(5):
        random.Random(seed).shuffle(events)
        [change] = combine.merge(encoded(events))
        assert (change.table, change.operation, change.image["v"]) == ("orders", "put", {"N": "3"})
        assert change.at == datetime(2016, 11, 18, 20, 9, tzinfo=timezone.utc)


def test_a_table_that_is_streamed_to_kinesis(tmp_path):
    """By ministack, whose events have the form of DynamoDB Streams."""
    rng = random.Random(5)
    with ministack(tmp_path, services="kinesis,dynamodb") as server:
        client = server.client()
        server.create_stream("changes", 2)
        arn = client.describe_stream_summary(StreamName="changes")["StreamDescriptionSummary"]["StreamARN"]
        table = server.client("dynamodb")
        table.create_table(
            TableName="orders",
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        table.enable_kinesis_streaming_destination(TableName="orders", StreamArn=arn)
        for n in range(120):
            item = {"id": {"S": rng.choice("abcdefgh")}}
            if rng.random() < 0.3:
                table.delete_item(TableName="orders", Key=item)
            else:
                table.put_item(TableName="orders", Item={**item, "n": {"N": str(n)}})
        found = {item["id"]["S"]: item for item in table.scan(TableName="orders")["Items"]}
        records = [
            record
            for batch in StreamReader("changes", client=client, until="latest", range_rule=False)
            for record in batch.records
        ]
    assert len(records) > 80
    changes = combine.merge(records)  # of both shards together: ministack spreads the events of an item
    assert {json.loads(key)["id"]["S"]: image for (_, key), image in apply({}, changes).items()} == found
    assert {change.table for change in changes} == {"orders"}
    assert len(changes) <= 8


# --- DMS ---


def of_dms(operation, data, before=None, schema="shop", table="orders"):
    event = {
        "data": data,
        "metadata": {
            "timestamp": "2021-02-18T23:57:11.970360Z",
            "record-type": "data",
            "operation": operation,
            "partition-key-type": "schema-table",
            "schema-name": schema,
            "table-name": table,
            "transaction-id": 87978110091475,
        },
    }
    if before is not None:
        event["before-image"] = before
    return event


def events_of_rows(steps, partial_updates, before_all):
    """Messages about rows of a table (id, a, b), and what the table has after each step."""
    table, events, states = {}, [], []
    for kind, row_id, new_id, column, value in steps:
        if kind == "delete":
            if row_id in table:
                events.append(of_dms("delete", table.pop(row_id)))
        elif row_id not in table:
            table[row_id] = {"id": row_id, "a": value, "b": -value}
            events.append(of_dms("insert" if value % 2 else "load", dict(table[row_id])))
        else:
            old = table[row_id]
            to = row_id if kind == "update" or new_id in table else new_id
            new = {**old, "id": to, column: value}
            before = dict(old) if before_all else {"id": row_id}
            events.append(of_dms("update", {"id": to, column: value} if partial_updates else new, before))
            del table[row_id]
            table[to] = new
        states.append(({key: dict(row) for key, row in table.items()}, len(events)))
    return events, states


steps = st.lists(
    st.tuples(
        st.sampled_from(["update", "update", "move", "delete"]),
        st.integers(1, 4),
        st.integers(1, 4),
        st.sampled_from("ab"),
        st.integers(0, 9),
    ),
    max_size=25,
)


@given(steps, st.booleans(), st.integers(1, 30))
@settings(max_examples=400, deadline=None)
def test_rows_are_as_the_database_has_them(steps, partial_updates, size):
    events, states = events_of_rows(steps, partial_updates, before_all=True)
    data = encoded(events)
    merge = partial(combine.merge, keys=["id"], partial_updates=partial_updates)
    expected = {("shop.orders", json.dumps({"id": key})): row for key, row in (states[-1][0] if states else {}).items()}
    assert apply({}, merge(data)) == expected
    assert apply({}, [change for each in data for change in merge([each])]) == expected
    state = {}
    for i in range(0, len(data), size):
        apply(state, merge(data[i : i + size]))
    assert state == expected
    # Handled up to somewhere, and then again from the beginning, in one batch.
    for _, at in states[:: max(1, len(states) // 4)]:
        assert apply(apply({}, merge(data[:at])), merge(data)) == expected


def test_a_moved_row_takes_along_what_the_batch_knows_of_it():
    events = [of_dms("insert", {"id": 1, "a": 5, "b": 6}), of_dms("update", {"id": 2, "b": 7}, {"id": 1})]
    changes = combine.merge(encoded(events), keys={"shop.orders": ("id",)}, partial_updates=True)
    assert [(change.operation, change.key, change.image, change.events) for change in changes] == [
        ("remove", {"id": 1}, None, 2),
        ("put", {"id": 2}, {"id": 2, "a": 5, "b": 7}, 1),
    ]
    with pytest.raises(ChangeEventError, match="primary key changes, and neither the batch nor a before-image of all"):
        combine.merge(encoded(events[1:]), keys=["id"], partial_updates=True)


def test_a_moved_row_takes_along_what_was_set_before_it():
    """A before-image of all columns has no large objects."""
    events = [
        of_dms("update", {"id": 1, "doc": "new"}),
        of_dms("update", {"id": 2, "b": 7}, {"id": 1, "a": 5, "b": 6}),
    ]
    removed, moved = combine.merge(encoded(events), keys=["id"], partial_updates=True)
    assert (removed.operation, removed.key) == ("remove", {"id": 1})
    assert moved.image == {"id": 2, "a": 5, "b": 7, "doc": "new"}


def test_a_before_image_has_the_name_that_its_settings_give_it():
    event = of_dms("update", {"id": 2, "a": 1})
    event["old"] = {"id": 1}
    changes = combine.merge(encoded([event]), keys=["id"], before_image="old")
    assert [(change.operation, change.key) for change in changes] == [("remove", {"id": 1}), ("put", {"id": 2})]
    assert [change.key for change in combine.merge(encoded([event]), keys=["id"])] == [{"id": 2}]  # nobody tells


@pytest.mark.parametrize(
    ("timestamp", "microsecond"), [("09.5Z", 500_000), ("09.123456789Z", 123_456), ("09Z", 0), ("09.25", 250_000)]
)
def test_times_of_any_precision(timestamp, microsecond):
    event = of_dms("insert", {"id": 1})
    event["metadata"]["timestamp"] = f"2021-02-18T23:09:{timestamp}"
    [change] = combine.merge(encoded([event]), keys=["id"])
    assert change.at == datetime(2021, 2, 18, 23, 9, 9, microsecond, tzinfo=timezone.utc)


def test_true_is_not_the_key_1():
    changes = combine.merge(encoded([of_dms("insert", {"id": 1}), of_dms("delete", {"id": True})]), keys=["id"])
    assert [change.operation for change in changes] == ["put", "remove"]


def test_columns_that_are_not_set_stay():
    [change] = combine.merge(
        encoded([of_dms("update", {"id": 1, "a": 2}), of_dms("update", {"id": 1, "b": None})]),
        keys=["id"],
        partial_updates=True,
    )
    assert (change.image, change.replaces, change.events) == ({"id": 1, "a": 2, "b": None}, False, 2)
    [change] = combine.merge(encoded([of_dms("delete", {"id": 1}), of_dms("update", {"id": 1, "a": 2})]), keys=["id"])
    assert (change.image, change.replaces) == ({"id": 1, "a": 2}, True)


def test_control_records_are_others():
    control = {
        "metadata": {
            "timestamp": "2021-02-18T23:09:09.509179Z",
            "record-type": "control",
            "operation": "create-table",
            "partition-key-type": "task-id",
            "schema-name": "",
            "table-name": "awsdms_apply_exceptions",
        }
    }
    records = user_records(encoded([control, of_dms("load", {"id": 1, "n": 0.1})]))
    changes = combine.merge(records, keys=["id"], loads=partial(json.loads, parse_float=Decimal))
    assert changes.others == [records[0]]
    assert [change.image["n"] for change in changes] == [Decimal("0.1")]


# --- what is none ---

WHOLE = of_dms("update", {"id": 1})


@pytest.mark.parametrize(
    ("event", "says"),
    [
        ([], "list of 0 is no JSON object"),
        ({"a": 1}, "'metadata' is not an object, but None"),
        (without(WHOLE, "metadata", "record-type"), "'record-type' is not a text, but None"),
        (without(WHOLE, "data"), "'data' is not an object, but None"),
        (without(WHOLE, "metadata", "timestamp"), "'timestamp' is not a text, but None"),
        ({**WHOLE, "metadata": {**WHOLE["metadata"], "timestamp": "then"}}, "'timestamp' is not a time, but 'then'"),
        ({**WHOLE, "metadata": {**WHOLE["metadata"], "operation": "upsert"}}, "is not load, insert, update or delete"),
        (of_dms("update", {"n": 1}), "'id' is not a value of a primary key, but None"),
        (of_dms("update", {"id": [1]}), "'id' is not a value of a primary key, but list of 1"),
        (of_dms("update", {"id": 1}, table="other"), "keys= has no column names of the primary key of 'shop.other'"),
        (of_dms("update", {"id": 1}, before=[]), "'before-image' is not an object"),
        (of_dynamodb("MODIFY", "a"), "'NewImage' is not an object, but None"),
        (of_dynamodb("UPDATE", "a", {}), "'eventName' is not INSERT, MODIFY or REMOVE, but 'UPDATE'"),
        (of_dynamodb("REMOVE", "a", at="1" * 10**6), "'ApproximateCreationDateTime' is not a number, but '1111"),
        (of_dynamodb("REMOVE", "a", at=True), "'ApproximateCreationDateTime' is not a number, but True"),
        (of_dynamodb("REMOVE", "a", at=1e308), "table, keys or time are not DynamoDB's"),
        (of_dynamodb("REMOVE", "a", at=10**30), "table, keys or time are not DynamoDB's"),
        (of_dynamodb("REMOVE", "a", precision="HOUR"), "table, keys or time are not DynamoDB's"),
        (of_dynamodb("REMOVE", ["a"]), "table, keys or time are not DynamoDB's"),
        (without(of_dynamodb("REMOVE", "a"), "tableName"), "'eventSourceARN' is not a text, but None"),
        ({**without(of_dynamodb("REMOVE", "a"), "tableName"), "eventSourceARN": "arn"}, "are not DynamoDB's"),
        (without(of_dynamodb("REMOVE", "a"), "dynamodb", "Keys"), "'Keys' is not an object, but None"),
    ],
)
def test_what_is_no_change_event_is_named(event, says):
    record = SimpleNamespace(data=json.dumps(event).encode(), sequence_number="4961", sub_sequence_number=3)
    [good] = user_records(encoded([WHOLE]))
    with pytest.raises(ChangeEventError, match=r"^change event 4961, user record 3: ") as error:
        combine.merge([good, record], keys={"shop.orders": ["id"]})
    assert says in str(error.value)


@pytest.mark.parametrize("data", [b"", b"\xff", b"nope", b"[" * 100_000, b'{"a":'])
def test_what_is_not_json_is_named(data):
    with pytest.raises(ChangeEventError, match=r"^change event 5, user record 0: not JSON: "):
        combine.merge(deaggregate({"Data": data, "PartitionKey": "k", "SequenceNumber": "5"}))


names = st.sampled_from(
    [
        "dynamodb",
        "Keys",
        "eventName",
        "tableName",
        "NewImage",
        "metadata",
        "data",
        "record-type",
        "operation",
        "schema-name",
        "table-name",
        "id",
    ]
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["INSERT", "update", "data", "control", "x"]),
    lambda inner: st.lists(inner) | st.dictionaries(names, inner),
)


@given(anything)
@settings(max_examples=200, deadline=None)
def test_whatever_it_is_there_is_no_other_error(event):
    with suppress(ChangeEventError):
        combine.merge(encoded([event]), keys=["id"])
