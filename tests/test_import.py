"""What `import shardpack` costs and gives."""

from __future__ import annotations

import sys
from importlib.metadata import distribution
from importlib.resources import files
from importlib.util import find_spec

import pytest
from isolated import python, run

import shardpack

CLASSES = {
    "Aggregator",
    "AsyncProducer",
    "Attempt",
    "Boto3Transport",
    "DeadLetter",
    "DeadLetterSink",
    "HashKeys",
    "KinesisRecord",
    "Limits",
    "Outcome",
    "Producer",
    "Receipt",
    "Receipts",
    "SQLiteDeadLetters",
    "SettledRecord",
    "Shard",
    "ShardMap",
    "Stats",
    "UserRecordBatch",
}
RECORDS = {"RecordsReply", "UserRecord", "UserRecords"}
FUNCTIONS = {
    "deaggregate",
    "deaggregate_arrow",
    "deaggregate_columns",
    "hash_key",
    "hash_keys",
    "iter_deaggregate",
    "pack",
    "read_records",
    "read_records_async",
    "redrive",
    "sending_to",
}
FUNCTIONS |= {"install", "uninstall"}
ABOUT_RECORDS = {"InvalidRecordError", "InvalidPartitionKeyError", "InvalidHashKeyError", "RecordTooLargeError"}
OF_A_PRODUCER = {
    "BufferFullError",
    "DeliveryError",
    "FlushTimeoutError",
    "ProducerClosedError",
    "RecordExpiredError",
}
ERRORS = OF_A_PRODUCER | {"ShardpackError", "ShardMapError", "MalformedRecordError", "DeadLetterError"} | ABOUT_RECORDS


@pytest.mark.parametrize("name", sorted(CLASSES | RECORDS | FUNCTIONS | ERRORS))
def test_the_public_names(name):
    assert name in shardpack.__all__
    assert getattr(shardpack, name).__name__ == name


def test_all_names_exist():
    assert len(set(shardpack.__all__)) == len(shardpack.__all__)
    for name in shardpack.__all__:
        assert hasattr(shardpack, name)


def test_importing_loads_no_third_party_module():
    done = python("-X", "importtime", "-c", "import shardpack")
    assert done.returncode == 0, done.stderr
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    packages = {name.partition(".")[0] for name in loaded - {"imported package"}}
    assert "shardpack" in packages
    at_start = set(run("import sys; print(*sys.modules)").split())  # .pth files of the environment
    strangers = packages - {"shardpack"} - sys.stdlib_module_names - at_start
    # what is only asked for and is not there, as Jython's modules by the standard library, costs nothing
    assert not {name for name in strangers if find_spec(name) is not None}


def test_importing_leaves_the_heavy_parts_of_the_standard_library_alone():
    loaded = set(run("import sys, shardpack; print(*sys.modules)").split())
    assert not loaded & {"asyncio", "multiprocessing", "http.client", "ssl", "socket", "subprocess", "sqlite3", "boto3"}


def test_the_types_travel_with_the_package():
    assert files("shardpack").joinpath("py.typed").is_file()
    for name in ("aggregate", "arrow", "deaggregate", "md5", "shard_table", "keys"):
        assert files("shardpack").joinpath(f"_native/{name}.pyi").is_file()


def test_base64_is_all_that_is_required_to_install_it():
    requirements = distribution("shardpack").requires or []
    assert [requirement for requirement in requirements if "extra ==" not in requirement] == ["pybase64>=1.4"]


def test_a_function_that_only_deaggregates_waits_for_nothing_else():
    """Cold starts: what takes the time is the standard library's typing, dataclasses, inspect and logging."""
    event = {"kinesis": {"data": "cmF3", "partitionKey": "a", "approximateArrivalTimestamp": 1545084650.987}}
    handler = f"from shardpack import deaggregate; [record] = deaggregate({event}); record.data, record.partition_key"
    code = f"import sys; before = set(sys.modules); {handler}; print(*set(sys.modules) - before)"
    loaded = set(run(code).split())
    assert "shardpack.consume.deaggregation" in loaded
    assert not loaded & {"dataclasses", "datetime", "inspect", "logging", "typing"}
    assert {name for name in loaded if name.startswith("shardpack.")} == {
        "shardpack._native",
        "shardpack._native.compressed",
        "shardpack._native.deaggregate",
        "shardpack._native.keys",
        "shardpack._native.md5",
        "shardpack.consume",
        "shardpack.consume.deaggregation",
        "shardpack.consume.shapes",
        "shardpack.errors",
    }


def test_a_producer_loads_no_client_library_before_it_makes_a_client():
    loaded = set(run("import sys; from shardpack import Producer; Producer('telemetry'); print(*sys.modules)").split())
    assert "shardpack.producer.pump" in loaded
    assert not loaded & {"boto3", "botocore"}


def test_arrow_batches_load_no_arrow_library():
    code = "import sys; from shardpack import deaggregate_arrow; deaggregate_arrow(b'raw').__arrow_c_array__()"
    loaded = set(run(f"{code}; print(*sys.modules)").split())
    assert "shardpack._native.arrow" in loaded
    assert not loaded & {"pyarrow", "polars", "duckdb", "nanoarrow", "numpy"}


def test_names_are_listed_before_they_are_loaded():
    assert set(run("import shardpack; print(*dir(shardpack))").split()) >= set(shardpack.__all__)


def test_other_names_do_not_exist():
    with pytest.raises(AttributeError, match="has no attribute 'producer_of_all'"):
        _ = shardpack.producer_of_all
