"""A Kinesis of one's own: roto-server on a free loopback port, for the demo and the tests."""

from __future__ import annotations

import atexit
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import boto3
import botocore.session
from botocore.config import Config
from botocore.configprovider import ConfigValueStore, ConstantProvider
from botocore.exceptions import BotoCoreError
from botocore.loaders import create_loader

from ..errors import ShardpackError

if TYPE_CHECKING:
    from typing_extensions import Self

REGION = "us-east-1"
START_SECONDS = 20.0
STOP_SECONDS = 5.0
ATTEMPTS = 3
"""How often another port is tried: a free one can be taken before the server binds it."""

DIE_WITH_PARENT = """
import ctypes, os, signal, sys
parent, *command = sys.argv[1:]
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG; it outlives execv
    if os.getppid() != int(parent):
        sys.exit("the parent is gone")
os.execv(command[0], command)
"""


class LocalKinesisError(ShardpackError):
    """The local Kinesis is not installed or does not start."""


class LocalKinesis:
    """Run a local Kinesis while the ``with`` block lasts; it keeps everything in memory and listens on loopback only.

    It needs boto3 and roto-server (``pip install 'shardpack[demo]'``), which it starts on a free port; no AWS account,
    no network, no container. Ports and processes of others are left alone: it stops what it started, by its process
    id, at the end of the block, at interpreter exit, and on Linux when this process is killed. Start it from a thread
    that lasts: Linux takes that thread's end for its parent's. Its clients may be used from any thread.

    Raises ``LocalKinesisError`` where the server is not installed or does not start.
    """

    def __init__(self) -> None:
        self._binary = find_server()
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None
        self._clients: list[Any] = []
        self.endpoint_url: str = ""
        """Where it listens, for clients of your own: ``http://127.0.0.1:`` and the port."""

    @property
    def pid(self) -> int | None:
        """Process id of the server while it runs."""
        return None if self._process is None else self._process.pid

    def __enter__(self) -> Self:
        atexit.register(self.stop)
        try:
            self._start_somewhere()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def client(self, **config: Any) -> Any:
        """Make a boto3 Kinesis client that ignores the user's AWS environment, configuration and proxies.

        ``config`` goes to botocore's ``Config``: ``retries={"total_max_attempts": 1}`` for a producer. It is closed
        when the server stops.
        """
        settings = {
            "connect_timeout": 5,
            "read_timeout": 60,
            "retries": {"mode": "standard", "total_max_attempts": 3},
            "proxies": {},
            **config,
        }
        client = boto3.session.Session(botocore_session=session_of_defaults()).client(
            "kinesis", region_name=REGION, endpoint_url=self.endpoint_url, config=Config(**settings)
        )
        self._clients.append(client)
        return client

    def create_stream(self, stream_name: str, shard_count: int) -> None:
        """Create a stream of ``shard_count`` open shards; return when it is active."""
        client = self.client()
        client.create_stream(StreamName=stream_name, ShardCount=shard_count)
        wait_until_active(client, stream_name)

    def stop(self) -> None:
        """Stop the server and close its clients. May be called again."""
        atexit.unregister(self.stop)
        self._stop_server()
        while self._clients:
            self._clients.pop().close()

    def _start_somewhere(self) -> None:
        for _ in range(ATTEMPTS - 1):
            with suppress(LocalKinesisError):
                self._start(free_port())
                return
            self._stop_server()
        self._start(free_port())

    def _start(self, port: int) -> None:
        self.endpoint_url = f"http://127.0.0.1:{port}"
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed by stop)
        server = [self._binary, "--host", "127.0.0.1", "--port", str(port), "--ephemeral"]
        self._process = subprocess.Popen(  # noqa: S603 (our own server)
            [sys.executable, "-I", "-S", "-c", DIE_WITH_PARENT, str(os.getpid()), *server],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            env={name: value for name, value in os.environ.items() if not name.startswith(("ROTO_", "AWS_"))},
            cwd=tempfile.gettempdir(),
            start_new_session=True,  # a terminal's Ctrl-C is for the command, which then stops the server
        )
        self._wait_until_up(port)

    def _wait_until_up(self, port: int) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise LocalKinesisError(
                    f"the local Kinesis ended with exit code {self._process.returncode}: {self._last_words()}"
                )
            if accepts(port) and self._answers():
                return
            time.sleep(0.02)
        raise LocalKinesisError(f"the local Kinesis did not answer in {START_SECONDS:g} s: {self._last_words()}")

    def _answers(self) -> bool:
        try:
            self.client().list_streams()
        except BotoCoreError:
            return False
        return self._process is not None and self._process.poll() is None

    def _last_words(self) -> str:
        if self._log is None:
            return ""
        self._log.seek(0)
        return self._log.read().decode(errors="replace").strip()[-500:] or "it said nothing"

    def _stop_server(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            except BaseException:  # an impatient second Ctrl-C
                process.kill()
                process.wait()
                raise
        if self._log is not None:
            self._log.close()
            self._log = None


LOADER = create_loader()
"""Reads the models of services once for all clients: what they are made of would fill memory otherwise."""


def session_of_defaults() -> Any:
    """Make a botocore session that knows botocore's defaults and nothing of the environment, files or profiles."""
    session = botocore.session.Session()
    defaults = {name: ConstantProvider(default) for name, (_, _, default, _) in session.SESSION_VARIABLES.items()}
    defaults |= {"config_file": ConstantProvider(None), "credentials_file": ConstantProvider(None)}
    session.register_component("config_store", ConfigValueStore(defaults))
    session.set_credentials("local", "local")
    session.register_component("data_loader", LOADER)
    return session


def find_server() -> str:
    """Return the path of roto-server: beside this Python, else on PATH."""
    beside = Path(sys.executable).with_name("roto-server")
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which("roto-server")
    if found is None:
        raise LocalKinesisError("the local Kinesis, roto-server, is not installed: pip install 'shardpack[demo]'")
    return found


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def wait_until_active(client: Any, stream_name: str, timeout_s: float = 30.0) -> None:
    """Return when the stream is active: after it was created, split or merged. Raises ``TimeoutError``."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        summary = client.describe_stream_summary(StreamName=stream_name)["StreamDescriptionSummary"]
        if summary["StreamStatus"] == "ACTIVE":
            return
        time.sleep(0.05)
    raise TimeoutError(f"stream {stream_name!r} is not active after {timeout_s:g} s")
