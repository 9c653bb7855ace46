"""What goes over the wire beside the body: connections, their options, heads, what a client does of itself."""

from __future__ import annotations

import json
import logging
import socket
import socketserver
import threading
from types import SimpleNamespace

import boto3
import pytest
import urllib3.util.connection
from botocore.config import Config

from shardpack import Boto3Transport, KinesisRecord
from shardpack.producer.base import _transport
from shardpack.testing.local_kinesis import session_of_defaults
from shardpack.transport.boto3 import ClientSettings


class Wire(socketserver.ThreadingTCPServer):
    """A server that says of all entries that they are stored, and keeps every byte of the heads that came."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.connections = 0
        self.heads = []
        self.endpoint_url = "http://{}:{}".format(*self.server_address)


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        self.server.connections += 1
        while True:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                line = self.rfile.readline()
                if not line:
                    return
                head += line
            self.server.heads.append(head)
            fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
            body = json.loads(self.rfile.read(int(fields[b"content-length"])))
            stored = [{"ShardId": "shardId-000000000000", "SequenceNumber": "1"} for _ in body["Records"]]
            answer = json.dumps({"FailedRecordCount": 0, "Records": stored}).encode()
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(answer), answer))


@pytest.fixture
def wire():
    with Wire() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def connected(monkeypatch):
    """The sockets of clients as they are made."""
    sockets = []
    connect = urllib3.util.connection.create_connection

    def remember(*arguments, **options):
        sockets.append(connect(*arguments, **options))
        return sockets[-1]

    monkeypatch.setattr(urllib3.util.connection, "create_connection", remember)
    return sockets


@pytest.fixture(autouse=True)
def own_environment(monkeypatch):
    for name, value in {
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_DEFAULT_REGION": "eu-west-1",
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "AWS_MAX_ATTEMPTS", "AWS_RETRY_MODE"):
        monkeypatch.delenv(name, raising=False)


def record(data):
    return KinesisRecord("device-7", None, data, 0, 1, len(data) + 8)


def test_calls_share_a_connection_that_does_not_wait(wire, connected):
    client = ClientSettings(endpoint_url=wire.endpoint_url, region_name="eu-west-1").client(6)
    transport = Boto3Transport(client, "s")
    for size in (0, 100, 1 << 20):
        transport.put_records([record(bytes(size))] * 3)
    assert wire.connections == 1
    (made,) = connected
    assert made.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert made.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    client.close()


def test_no_call_asks_before_it_sends_its_body(wire):
    client = ClientSettings(endpoint_url=wire.endpoint_url, region_name="eu-west-1").client(6)
    Boto3Transport(client, "s").put_records([record(bytes(1 << 20))] * 5)
    client.close()
    (head,) = wire.heads
    assert head.startswith(b"POST / HTTP/1.1\r\n")
    assert b"\r\nContent-Type: application/x-amz-json-1.1\r\n" in head
    assert b"expect" not in head.lower()
    assert b"transfer-encoding" not in head.lower()


def test_calls_go_through_a_proxy(wire):
    settings = ClientSettings(
        endpoint_url="http://kinesis.invalid", region_name="eu-west-1", proxies={"http": wire.endpoint_url}
    )
    client = settings.client(6)
    (outcome,) = Boto3Transport(client, "s").put_records([record(b"21.5")])
    client.close()
    assert outcome.sequence_number == "1"
    assert wire.heads[0].startswith(b"POST http://kinesis.invalid/ HTTP/1.1\r\n")


# --- clients that users give ---


@pytest.fixture
def given():
    """Clients as users make them."""
    made = []

    def client(**config):
        session = boto3.session.Session(botocore_session=session_of_defaults())
        made.append(session.client("kinesis", "eu-west-1", config=Config(**config)))
        return made[-1]

    yield client
    for each in made:
        each.close()


@pytest.mark.parametrize(
    ("config", "in_flight", "said"),
    [
        ({"retries": {"total_max_attempts": 1}, "max_pool_connections": 18}, 16, []),
        ({"retries": {"max_attempts": 0}}, 8, []),
        (
            {"retries": {"total_max_attempts": 1}},
            16,
            ["the client keeps 10 connections, where 18 calls may be under way: give it max_pool_connections=18"],
        ),
        ({}, 4, ["the client makes calls again by itself"]),
        ({"retries": {"mode": "standard"}}, 4, ["the client makes calls again by itself"]),
        ({"retries": {"max_attempts": 2, "mode": "adaptive"}}, 4, ["the client makes calls again by itself"]),
    ],
)
def test_what_does_not_suit_a_producer_is_said_once(given, caplog, config, in_flight, said):
    with caplog.at_level(logging.WARNING, "shardpack"):
        _transport("s", None, given(**config), in_flight)
    assert len(caplog.records) == len(said)
    assert all(text in record.message for text, record in zip(said, caplog.records, strict=True))


def test_nothing_is_said_of_a_client_that_the_producer_makes(caplog):
    with caplog.at_level(logging.WARNING, "shardpack"):
        _transport("s", None, ClientSettings(region_name="eu-west-1"), 40).client.close()
        _transport("s", None, None, 40).client.close()
    assert not caplog.records


def test_a_client_that_is_none_of_boto3_is_taken_as_it_is(caplog):
    with caplog.at_level(logging.WARNING, "shardpack"):
        _transport("s", None, SimpleNamespace(put_records=lambda **_: {}), 40)
    assert not caplog.records
