"""HTTP/1.1 as JSON clients of AWS speak it, for the fault proxy: heads, bodies, and connections that are kept."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from .._native.cbor_json import json_of_cbor

LONGEST_HEAD = 64 * 1024
LONGEST_BODY = 64 * 1024 * 1024
"""Well above the service's largest: a request of 10 MiB in base64 is 14 MiB. What is longer is refused."""
IDLE_CONNECTIONS = 32

JSON_TYPE = "application/x-amz-json-1.1"

Headers = list[tuple[str, str]]


class BadMessageError(Exception):
    """What came is no HTTP that can be passed on."""


def parsed(body: bytes) -> dict[str, Any] | None:
    """Return the object that a body is, in JSON or in CBOR, whose bytes are base64 then; ``None`` for what is none."""
    try:
        found = json.loads(json_of_cbor(body) or body)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


@dataclass(slots=True)
class Message:
    """A request or a response: its first line in three parts, its headers and its whole body."""

    start: tuple[str, str, str]
    headers: Headers
    body: bytes

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name), None)

    @property
    def is_kept_alive(self) -> bool:
        """Whether the connection serves for another."""
        version = self.start[0] if self.start[0].startswith("HTTP/") else self.start[2]
        connection = (self.header("connection") or "").lower()
        return connection != "close" and (version != "HTTP/1.0" or connection == "keep-alive")

    def json(self) -> dict[str, Any]:
        """Return what the body of an answer says. Raises ``BadMessageError`` where it is no JSON object, nor CBOR."""
        said = parsed(self.body)
        if said is None:
            raise BadMessageError("the answer is not JSON")
        return said

    def saying(self, content: dict[str, Any]) -> Message:
        """Return the same message with another body, in JSON."""
        headers = [(name, JSON_TYPE if name.lower() == "content-type" else value) for name, value in self.headers]
        return Message(self.start, headers, json.dumps(content).encode())

    def head(self) -> bytes:
        """Return the first line and the headers, with the length that the body has."""
        lines = [" ".join(self.start)]
        lines += [
            f"{name}: {value}"
            for name, value in self.headers
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "expect")
        ]
        lines += [f"Content-Length: {len(self.body)}", "", ""]
        return "\r\n".join(lines).encode("latin-1")


def response(status: int, headers: Headers, body: bytes) -> Message:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    return Message(("HTTP/1.1", str(status), phrase), headers, body)


class Connection:
    """One connection, either side's."""

    __slots__ = ("_reader", "_writer")

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @property
    def is_gone(self) -> bool:
        """Whether the other side has closed it, as far as is known here."""
        return self._reader.at_eof() or self._reader.exception() is not None or self._writer.is_closing()

    async def read(self) -> Message | None:
        """Read a message; ``None`` where the other side closed the connection between two."""
        try:
            head = await self._reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            if error.partial.strip():
                raise
            return None
        except asyncio.LimitOverrunError:
            raise BadMessageError("the head of the message is too long") from None
        first, *lines = head.decode("latin-1")[:-4].lstrip("\r\n").split("\r\n")
        parts = first.split(" ", 2)
        if len(parts) == 2:  # a status without a phrase
            parts.append("")
        if len(parts) != 3:
            raise BadMessageError("the first line is none of HTTP")
        headers = [(name.strip(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        message = Message((parts[0], parts[1], parts[2]), headers, b"")
        message.body = await self._read_body(message)
        return message

    async def _read_body(self, message: Message) -> bytes:
        if (message.header("expect") or "").lower() == "100-continue":
            self._writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if (message.header("transfer-encoding") or "").lower() == "chunked":
            return await self._read_chunks()
        length = message.header("content-length") or "0"
        if not (length.isascii() and length.isdigit()) or len(length) > 12 or int(length) > LONGEST_BODY:
            raise BadMessageError(f"a Content-Length of {length:.40}: at most {LONGEST_BODY:,} bytes are passed on")
        return await self._reader.readexactly(int(length)) if int(length) else b""

    async def _read_chunks(self) -> bytes:
        chunks: list[bytes] = []
        size = 0
        while True:
            line = await self._reader.readuntil(b"\r\n")
            try:
                length = int(line.partition(b";")[0], 16)
            except ValueError:
                raise BadMessageError("a chunk has no length") from None
            size += length
            if length < 0 or size > LONGEST_BODY:
                raise BadMessageError(f"a body in chunks: at most {LONGEST_BODY:,} bytes are passed on")
            if not length:
                while await self._reader.readuntil(b"\r\n") != b"\r\n":  # trailers
                    pass
                return b"".join(chunks)
            chunks.append(await self._reader.readexactly(length))
            await self._reader.readexactly(2)

    async def write(self, message: Message) -> None:
        """Write a message; return when the other side has taken most of it."""
        self._writer.write(message.head())
        if message.body:
            self._writer.write(message.body)
        await self._writer.drain()

    async def write_part(self, message: Message, length: int) -> None:
        """Write the whole head and so many bytes of the body, then close."""
        self._writer.write(message.head() + message.body[:length])
        await self._writer.drain()
        self._writer.close()

    async def write_slowly(self, message: Message, pieces: int, pause_s: float) -> None:
        """Write the head, then the body in so many pieces of one size, a pause before each."""
        self._writer.write(message.head())
        length = max(1, -(-len(message.body) // pieces))
        for start in range(0, len(message.body), length):
            await self._writer.drain()
            await asyncio.sleep(pause_s)
            if self.is_gone:
                raise ConnectionResetError("the other side has closed the connection")
            self._writer.write(message.body[start : start + length])
        await self._writer.drain()

    def close(self) -> None:
        self._writer.close()

    def reset(self) -> None:
        """Close with what is unsent dropped: the other side reads ECONNRESET."""
        connected = self._writer.get_extra_info("socket")
        if connected is not None:
            with suppress(OSError):
                connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


class Upstream:
    """The server that requests are passed on to; its connections are kept for the next."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._idle: list[Connection] = []

    async def exchange(self, request: Message) -> Message:
        """Pass a request on, once. Raises ``OSError``, ``EOFError`` or ``BadMessageError`` where there is no answer."""
        connection = await self._connection()
        try:
            await connection.write(request)
            answer = await connection.read()
        except BaseException:
            connection.reset()
            raise
        if answer is None:
            connection.close()
            raise EOFError("the connection was closed without an answer")
        if answer.is_kept_alive and len(self._idle) < IDLE_CONNECTIONS:
            self._idle.append(connection)
        else:
            connection.close()
        return answer

    async def _connection(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_gone:
                return connection
            connection.close()
        return Connection(*await asyncio.open_connection(self._host, self._port, limit=LONGEST_HEAD))

    def close(self) -> None:
        while self._idle:
            self._idle.pop().reset()
