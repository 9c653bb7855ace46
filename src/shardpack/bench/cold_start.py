"""What a Lambda function that starts cold waits for: a process of its own, the import, the first event.

The event arrives as JSON, which Lambda's runtime takes apart for everybody; the interpreter that does no more is the
floor. Without the site module, whose work differs from one environment to the next; the import path is this process's.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from functools import partial

from .corpus import synthetic
from .peers import AWS, NotInstalledError
from .received import kinesis_records, lambda_records

BARE = "bare Python"

_EVENT = "import json, sys; event = json.load(sys.stdin)"
_OURS = f"""{_EVENT}
from shardpack import deaggregate
print(*sorted((record.partition_key, len(record.data)) for record in deaggregate(event)))
"""
_AWS = f"""{_EVENT}
import base64
from aws_kinesis_agg.deaggregator import deaggregate_records
found = [record["kinesis"] for record in deaggregate_records(event["Records"])]
print(*sorted((record["partitionKey"], len(base64.b64decode(record["data"]))) for record in found))
"""


def first_event(user_records: int) -> str:
    """Return a Lambda event of one aggregated record, of so many user records of 100 B."""
    return json.dumps({"Records": lambda_records(kinesis_records(synthetic(user_records, 100)))})


def printed(user_records: int) -> str:
    """Return what a function prints that has read this event."""
    found = sorted((key, len(data)) for key, data in synthetic(user_records, 100).pairs())
    return " ".join(map(str, found)) + "\n"


def ours(event: str) -> partial[str]:
    return partial(_start, _OURS, event)


def aws(event: str) -> partial[str]:
    if importlib.util.find_spec("aws_kinesis_agg") is None or importlib.util.find_spec("six") is None:
        raise NotInstalledError(f"pip install {AWS} six")
    return partial(_start, _AWS, event)


def bare(event: str) -> partial[str]:
    return partial(_start, _EVENT, event)


def _start(code: str, event: str) -> str:
    """Run code in a process of its own; return what it printed. Bytecode is kept, as a deployed package's is."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    command = [sys.executable, "-S", "-c", code]
    done = subprocess.run(command, env=environment, input=event, capture_output=True, text=True, check=True, timeout=60)  # noqa: S603 (our own code)
    return done.stdout
