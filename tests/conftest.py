from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import failing_allocations
import pytest

if TYPE_CHECKING:  # the core wheel, which the native tests are run against, has no local Kinesis
    import other_kinesis

    from shardpack.testing.local_kinesis import LocalKinesis

pytest_plugins = ["letters"]  # fixtures of several files

SHARDPACK = [sys.executable, "-W", "error", "-c", "from shardpack.cli import main; main()"]


@pytest.fixture(scope="session")
def local_kinesis() -> Iterator[LocalKinesis]:
    """A Kinesis on loopback: ``.endpoint_url``, ``.client()``, ``.create_stream(name, shard_count)``."""
    from shardpack.testing.local_kinesis import LocalKinesis  # noqa: PLC0415

    with LocalKinesis() as kinesis:
        yield kinesis


@pytest.fixture
def client(local_kinesis: LocalKinesis) -> Any:
    """A boto3 client of it."""
    return local_kinesis.client()


@pytest.fixture(scope="session")
def dynamodb(local_kinesis: LocalKinesis) -> Iterator[Any]:
    """A boto3 client of the DynamoDB that the local Kinesis's server has too."""
    import boto3  # noqa: PLC0415
    from botocore.config import Config  # noqa: PLC0415

    from shardpack.testing.local_kinesis import REGION, session_of_defaults  # noqa: PLC0415

    client = boto3.session.Session(botocore_session=session_of_defaults()).client(
        "dynamodb", region_name=REGION, endpoint_url=local_kinesis.endpoint_url, config=Config(proxies={})
    )
    yield client
    client.close()


@pytest.fixture(scope="module")
def small_heap() -> Iterator[None]:
    """The cycle collector looks only at what is made from here on: of all that other tests have loaded it need not."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="session")
def command_environment() -> dict[str, str]:
    """An environment with credentials for the local Kinesis and nothing of the user's terminal, AWS or proxies."""
    ignored = ("AWS_", "PYTHON", "FORCE_COLOR", "CLICOLOR", "PY_COLORS", "GITHUB_ACTIONS", "TTY_")
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(ignored) and not name.lower().endswith("_proxy")
    }
    return kept | {
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "COLUMNS": "80",
        "PYTHONUTF8": "1",
    }


class Shardpack:
    """Runs the command as its users do, in a process of its own."""

    def __init__(self, environment: dict[str, str], endpoint_url: str) -> None:
        self.environment = environment
        self.endpoint_url = endpoint_url

    def __call__(self, *arguments: object, stdin: bytes = b"", **environment: str) -> subprocess.CompletedProcess[str]:
        """Run ``shardpack`` with these arguments; commands that take a stream reach the local Kinesis."""
        command = [*SHARDPACK, *map(str, arguments)]
        if (
            arguments
            and arguments[0] in {"put", "tail", "redrive", "reshard", "doctor"}
            and "--endpoint-url" not in arguments
        ):
            command += ["--endpoint-url", self.endpoint_url]
        done = subprocess.run(
            command, input=stdin, capture_output=True, check=False, timeout=120, env=self.environment | environment
        )
        return subprocess.CompletedProcess(command, done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.fixture(scope="session")
def shardpack(local_kinesis: LocalKinesis, command_environment: dict[str, str]) -> Shardpack:
    return Shardpack(command_environment, local_kinesis.endpoint_url)


@pytest.fixture(scope="session")
def failing(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A library that stands before malloc (`failing_allocations`)."""
    return failing_allocations.build(tmp_path_factory.mktemp("failing"))


@pytest.fixture(scope="session")
def raising(tmp_path_factory: pytest.TempPathFactory) -> Iterator[other_kinesis.Server]:
    """A Kinesis whose streams may have their record limit raised, and that speaks CBOR."""
    import other_kinesis  # noqa: PLC0415

    with other_kinesis.kinesis_local(tmp_path_factory.mktemp("kinesis-local")) as server:
        yield server
