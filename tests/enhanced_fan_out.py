"""A local Kinesis that speaks SubscribeToShard, in a process of its own; roto-server has no enhanced fan-out."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import boto3
from botocore.config import Config

from shardpack.testing.local_kinesis import DIE_WITH_PARENT, REGION, accepts, free_port, session_of_defaults

START_SECONDS = 30.0


@contextmanager
def ministack(folder: Path):
    """Run the server while the ``with`` block lasts; yields a function that makes clients."""
    port = free_port()
    command = [sys.executable, "-I", "-S", "-c", DIE_WITH_PARENT, str(os.getpid())]
    command += [str(Path(sys.executable).with_name("ministack"))]
    here = {"BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port), "SERVICES": "kinesis", "TMPDIR": str(folder)}
    with (
        folder.joinpath("log").open("wb") as log,
        subprocess.Popen(
            command,
            cwd=folder,
            env={"PATH": os.environ["PATH"], **here},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        ) as server,
    ):
        clients = []

        def client():
            session = boto3.session.Session(botocore_session=session_of_defaults())
            url = f"http://127.0.0.1:{port}"
            clients.append(session.client("kinesis", REGION, endpoint_url=url, config=Config(proxies={})))
            return clients[-1]

        try:
            deadline = time.monotonic() + START_SECONDS
            while not accepts(port):
                assert server.poll() is None, folder.joinpath("log").read_text()
                assert time.monotonic() < deadline, folder.joinpath("log").read_text()
                time.sleep(0.05)
            yield client
        finally:
            for made in clients:
                made.close()
            server.terminate()
            try:
                server.wait(5)
            except subprocess.TimeoutExpired:
                server.kill()
