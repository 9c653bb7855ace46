"""The Kinesis that tests run on, ours and users'."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys

import pytest
from isolated import python, run

import shardpack.testing
from shardpack.testing import LocalKinesis, LocalKinesisError
from shardpack.testing.local_kinesis import find_server


def test_its_names_are_loaded_when_they_are_used():
    code = """
import sys
import shardpack, shardpack.testing
assert not {"boto3", "botocore", "asyncio", "shardpack.testing.local_kinesis"} & sys.modules.keys()
assert {"FaultProxy", "LocalKinesis", "LocalKinesisError", "faults", "history"} <= set(dir(shardpack.testing))
from shardpack.testing import LocalKinesis
from shardpack.testing.local_kinesis import LocalKinesis as same
assert LocalKinesis is same
assert "boto3" in sys.modules
"""
    run(code)
    names = {"FaultProxy", "LocalKinesis", "LocalKinesisError", "faults", "history"}
    assert names == set(shardpack.testing.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        shardpack.testing.Nothing  # noqa: B018


def test_without_boto3_the_error_says_what_to_install():
    done = python("-c", "import sys; sys.modules['boto3'] = None\nfrom shardpack.testing import LocalKinesis")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "ModuleNotFoundError: shardpack.testing.LocalKinesis needs boto3: pip install 'shardpack[demo]'"
    )


def test_type_checkers_know_it(tmp_path):
    file = tmp_path / "user.py"
    file.write_text(
        "from shardpack.testing import LocalKinesis, LocalKinesisError\n"
        "def stream(kinesis: LocalKinesis) -> str:\n"
        "    with LocalKinesis() as entered:\n"
        "        reveal_type(entered)\n"
        "        reveal_type(entered.endpoint_url)\n"
        "    reveal_type(LocalKinesisError())\n"
        "    return kinesis.create_stream('s', 1)\n"
    )
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", os.devnull, "--cache-dir", tmp_path / "cache"]
    done = subprocess.run([*command, file], capture_output=True, check=False, encoding="utf-8", timeout=200)
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.findall(r'Revealed type is "(.*)"', done.stdout) == [
        "shardpack.testing.local_kinesis.LocalKinesis",
        "str",
        "shardpack.testing.local_kinesis.LocalKinesisError",
    ]
    assert '"create_stream" of "LocalKinesis" does not return a value' in done.stdout


def test_it_is_gone_after_the_block():
    with LocalKinesis() as kinesis:
        pid, port = kinesis.pid, int(kinesis.endpoint_url.rpartition(":")[2])
        assert kinesis.endpoint_url == f"http://127.0.0.1:{port}"
        os.kill(pid, 0)
    assert kinesis.pid is None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)
    kinesis.stop()


def test_missing_server_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LocalKinesisError, match=r"pip install 'shardpack\[demo\]'"):
        find_server()


def test_local_kinesis_ignores_the_users_aws_environment(monkeypatch, local_kinesis):
    for name, value in {
        "AWS_PROFILE": "absent",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_CONFIG_FILE": "/no/such/file",
        "AWS_CA_BUNDLE": "/no/such/file",
        "AWS_USE_FIPS_ENDPOINT": "true",
        "HTTP_PROXY": "http://127.0.0.1:1",
        "http_proxy": "http://127.0.0.1:1",
    }.items():
        monkeypatch.setenv(name, value)
    assert "StreamNames" in local_kinesis.client().list_streams()
