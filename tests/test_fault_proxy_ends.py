"""The end of the Kinesis that fails as told, and what ends it: its schedules, and servers that are none."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

import pytest
from botocore.exceptions import ClientError
from isolated import run

from shardpack.testing import FaultProxy
from shardpack.testing.faults import Latency, RefuseEntries, Request


def test_it_is_gone_after_the_block(local_kinesis):
    before = threading.active_count()
    with FaultProxy(local_kinesis.endpoint_url, seed=1, faults=[Latency(100)]) as proxy:
        waiting = socket.create_connection(("127.0.0.1", int(proxy.endpoint_url.rpartition(":")[2])), timeout=20)
        waiting.sendall(b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
        while not proxy.requests:
            pass
    with waiting, pytest.raises(ConnectionResetError):
        waiting.recv(1)
    assert threading.active_count() == before
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(proxy.endpoint_url.rpartition(":")[2])), timeout=5)
    proxy.close()
    with pytest.raises(RuntimeError, match="make another"):
        proxy.__enter__()


def test_what_a_schedule_raises_is_raised_at_the_end(local_kinesis):
    def broken(_: Request) -> None:
        raise ZeroDivisionError("broken schedule")

    with (
        pytest.raises(ZeroDivisionError, match="broken schedule"),
        FaultProxy(local_kinesis.endpoint_url, seed=1, faults=[broken]) as proxy,
        pytest.raises(ClientError, match="the fault proxy cannot go on: ZeroDivisionError: broken schedule"),
    ):
        proxy.client().list_streams()
    proxy = FaultProxy(local_kinesis.endpoint_url, seed=1, faults=[lambda _: "no fault"])
    with proxy:
        with pytest.raises(ClientError, match="a schedule returned 'no fault', which is no fault"):
            proxy.client().list_streams()
        with pytest.raises(TypeError, match="which is no fault"):
            proxy.close()


def test_what_fails_in_the_block_is_what_is_raised(local_kinesis):
    def fail(proxy: FaultProxy) -> None:
        with proxy:
            with pytest.raises(ClientError, match="which is no fault"):
                proxy.client().list_streams()
            raise KeyError("ours")

    before = threading.active_count()
    with pytest.raises(KeyError, match="ours"):
        fail(FaultProxy(local_kinesis.endpoint_url, seed=1, faults=[lambda _: "no fault"]))
    assert threading.active_count() == before


def test_without_a_server_behind_it_it_says_so():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with (
            FaultProxy(url, seed=1) as proxy,
            pytest.raises(ClientError, match="has no answer of the server behind it: ConnectionRefusedError"),
        ):
            proxy.client().list_streams()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\noops", "BadMessageError: the answer is not JSON"),
        (
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
            "PutRecords of 1 entries is not answered for each",
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", "IncompleteReadError"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}", "a Content-Length of -1"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nno\r\n", "a chunk has no length"),
        (b"HTTP/1.1 200 OK\r\nEndless: " + bytes(100_000), "the head of the message is too long"),
        (b"HTTP\r\n\r\n", "the first line is none of HTTP"),
        (b"", "the connection was closed without an answer"),
    ],
)
def test_an_answer_that_is_none_is_told(answer, message):
    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, suppress(OSError):  # the proxy may have read enough, and have closed before this does
                connection.recv(100_000)
                connection.sendall(answer)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(100_000):
                    pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = threading.Thread(target=serve, daemon=True)
        serving.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with FaultProxy(url, seed=1, faults=[RefuseEntries(positions=(0,))]) as proxy:
            entries = [{"PartitionKey": "k", "Data": b"x"}] * 2
            client = proxy.client()
            with pytest.raises(ClientError, match=message) as caught:
                client.put_records(StreamName="s", Records=entries)
            assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 502
        listener.shutdown(socket.SHUT_RDWR)
    serving.join()


def test_it_ends_with_the_interpreter():
    code = """
from shardpack.testing import FaultProxy
import sys
proxy = FaultProxy("http://127.0.0.1:1", seed=1).__enter__()
assert "boto3" not in sys.modules
print("done")
"""
    assert run(code) == "done\n"
