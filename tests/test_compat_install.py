"""``shardpack.compat.install()``, in processes of their own."""

from __future__ import annotations

import pytest
from isolated import run

MODULES = ("aws_kinesis_agg", "aws_kinesis_agg.aggregator", "aws_kinesis_agg.deaggregator")


@pytest.mark.parametrize("hidden", ["", "import sys; sys.modules['aws_kinesis_agg'] = None; "])
def test_every_import_is_ours(hidden):
    printed = run(
        f"{hidden}import sys; path = list(sys.path)\n"
        "import shardpack.compat as compat; compat.install(); compat.install()\n"
        "import aws_kinesis_agg, aws_kinesis_agg.aggregator, aws_kinesis_agg.deaggregator as d\n"
        "from aws_kinesis_agg.deaggregator import deaggregate_records, iter_deaggregate_records\n"
        "from aws_kinesis_agg.aggregator import AggRecord, KeySet, RecordAggregator\n"
        "from aws_kinesis_agg import MAGIC, DIGEST_SIZE, MAX_BYTES_PER_RECORD, aggregator\n"
        "import shardpack.compat.aws_kinesis_agg.aggregator as ours\n"
        "assert ours is aggregator is aws_kinesis_agg.aggregator and d is aws_kinesis_agg.deaggregator\n"
        "assert sys.path == path and 'google.protobuf' not in sys.modules and 'six' not in sys.modules\n"
        "print(*(sys.modules[name].__name__ for name in " + repr(MODULES) + "))\n"
    )
    assert printed.split() == [f"shardpack.compat.{name}" for name in MODULES]


@pytest.mark.parametrize("name", MODULES)
def test_it_comes_first_or_not_at_all(name):
    printed = run(
        f"import sys, {name}, shardpack.compat as compat\n"
        "before = {name: module for name, module in sys.modules.items() if name.startswith('aws_kinesis_agg')}\n"
        "for _ in range(2):\n"
        "    try: compat.install()\n"
        "    except RuntimeError as error: print(error)\n"
        "assert all(sys.modules[name] is module for name, module in before.items())\n"
    )
    assert (
        printed.splitlines() == ["aws_kinesis_agg was imported before shardpack.compat.install(): call that first"] * 2
    )


def test_there_is_no_generated_protobuf_code():
    run(
        "import shardpack.compat as compat; compat.install()\n"
        "for name in ('messages_pb2', 'config_pb2', 'kpl_pb2'):\n"
        "    try: __import__(f'aws_kinesis_agg.{name}')\n"
        "    except ModuleNotFoundError: pass\n"
        "    else: raise AssertionError(name)\n"
    )


def test_importing_shardpack_installs_nothing():
    loaded = run("import sys, shardpack, shardpack.compat; print(*sys.modules)").split()
    assert not [name for name in loaded if "aws_kinesis_agg" in name]


def test_a_function_that_only_deaggregates_loads_no_aggregator():
    loaded = run("import sys, shardpack.compat.aws_kinesis_agg.deaggregator; print(*sys.modules)").split()
    assert "shardpack._native.compat" in loaded
    assert not {"shardpack.compat.aws_kinesis_agg.aggregator", "google.protobuf", "six", "logging"} & set(loaded)
