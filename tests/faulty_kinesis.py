"""A Kinesis that fails as told: an HTTP server on loopback that stands before the local Kinesis."""

from __future__ import annotations

import http.client
import json
import socket
import struct
from collections import defaultdict, deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from typing_extensions import Self

from shardpack.testing.local_kinesis import session_of_defaults

RESET = "reset"
"""The connection is reset before an answer."""
CUT = "cut"
"""The connection ends in the middle of the answer's body."""


class FaultyKinesis:
    """Passes calls on, except those that ``fail`` says; ``calls`` has the operation and JSON of every call."""

    def __init__(self, behind: str) -> None:
        self._behind = urlsplit(behind).netloc
        self._faults: dict[str, deque[str]] = defaultdict(deque)
        self.calls: list[tuple[str, dict[str, object]]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self.endpoint_url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def fail(self, operation: str, *faults: str) -> None:
        """Let the next calls of an operation meet these: an error code, ``RESET`` or ``CUT``; empty is no fault."""
        self._faults[operation].extend(faults)

    @property
    def left(self) -> int:
        """How many faults nobody has met yet."""
        return sum(map(len, self._faults.values()))

    def requests(self, operation: str) -> list[dict[str, object]]:
        return [request for called, request in self.calls if called == operation]

    def client(self):
        """Make a client that does not try again by itself."""
        return boto3.session.Session(botocore_session=session_of_defaults()).client(
            "kinesis",
            region_name="us-east-1",
            endpoint_url=self.endpoint_url,
            config=Config(retries={"mode": "standard", "total_max_attempts": 1}, proxies={}),
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        faulty = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                operation = self.headers["X-Amz-Target"].rpartition(".")[2]
                faulty.calls.append((operation, json.loads(body)))
                faults = faulty._faults[operation]
                fault = faults.popleft() if faults else ""
                if fault == RESET:
                    # closed with what is unsent dropped: the other side reads ECONNRESET
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.close_connection = True
                    self.connection.close()
                elif fault and fault != CUT:
                    answer = json.dumps({"__type": fault, "message": "not now"}).encode()
                    self._answer(500 if fault == "InternalFailure" else 400, answer, len(answer))
                else:
                    behind = http.client.HTTPConnection(faulty._behind)
                    behind.request("POST", self.path, body, dict(self.headers.items()))
                    response = behind.getresponse()
                    answer = response.read()
                    behind.close()
                    self._answer(response.status, answer[: len(answer) // 2] if fault else answer, len(answer))

            def _answer(self, status: int, body: bytes, length: int) -> None:
                self.close_connection = True
                self.send_response(status)
                self.send_header("Content-Type", "application/x-amz-json-1.1")
                self.send_header("Content-Length", str(length))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        return Handler
