"""Bodies of GetRecords responses read natively, held against botocore's parser: tests and a fuzz target share it."""

from __future__ import annotations

import botocore.session
from botocore.parsers import create_parser

from shardpack import deaggregate
from shardpack._native.deaggregate import deaggregate_received
from shardpack.consume.replies import take_records

SHAPE = botocore.session.Session().get_service_model("kinesis").operation_model("GetRecords").output_shape
PARSER = create_parser("json")


def response(body, status=200):
    """What botocore gives its handlers, and its parser."""
    return {"body": body, "status_code": status, "headers": {}}


def parsed(body):
    """What botocore makes of a body, or the exception's text where it fails."""
    try:
        return PARSER.parse(response(body), SHAPE)
    except Exception as error:  # noqa: BLE001 - whatever it is
        return f"{type(error).__name__}: {error}"


def taken(body):
    """The Kinesis records taken out of a body, and what botocore makes of the rest; None where it is left alone."""
    one = response(body)
    received = take_records(one)
    if received is None:
        assert one == response(body)
        return None
    return received, parsed(one["body"])


def agree(body):
    """Demand that a body which is read means what botocore makes of it. Returns whether it is read."""
    found = taken(body)
    if found is None:
        return False
    received, rest = found
    whole = parsed(body)
    assert isinstance(whole, dict), whole
    assert rest["Records"] == []
    # as text: members in their order, and times with their zone, which equality does not look at
    assert repr([one.source for one in received]) == repr(whole["Records"])
    assert repr(whole | {"Records": []}) == repr(rest)
    found = []
    deaggregate_received(received, None, False, found)
    expected = deaggregate(whole["Records"])
    assert found == expected
    assert [one.source for one in found] == [one.source for one in expected]
    return True
