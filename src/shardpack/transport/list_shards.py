"""All the shards of a stream, page by page. Needs the client only: nothing here imports boto3."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any

from ..errors import ShardpackError
from . import BrokenAnswerError

TRIES = 3
"""How often the list is begun when the token of a page expires on the way, which it does after 300 s."""


class EndlessListError(ShardpackError, RuntimeError):
    """ListShards gave the same page token again."""


def list_all_shards(
    client: Any, stream: Mapping[str, str], shard_filter: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """Return what ListShards tells of every shard, as boto3 gives it; each shard once, in the service's order.

    ``client`` is a boto3 Kinesis client, ``stream`` what names the stream in its calls: see
    ``stream_parameters``. ``shard_filter`` is ListShards' own (``{"Type": "AT_LATEST"}``: the open shards alone).
    A list whose page token expired is begun again. Errors of the client pass through; ``EndlessListError``
    for a service that gives the same page token again, whose list has no end; ``BrokenAnswerError`` for a page that
    was cut off.
    """
    pages = shard_pages(stream, shard_filter)
    request = next(pages)
    while True:
        try:
            try:
                page = client.list_shards(**request)
            except Exception as error:  # noqa: BLE001 - it comes out again, or the list is begun again
                request = pages.throw(error)
            else:
                request = pages.send(page)
        except StopIteration as end:
            shards: list[dict[str, Any]] = end.value
            return shards


async def list_all_shards_async(
    client: Any, stream: Mapping[str, str], shard_filter: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """Do as ``list_all_shards`` with a client of aiobotocore."""
    pages = shard_pages(stream, shard_filter)
    request = next(pages)
    while True:
        try:
            try:
                page = await client.list_shards(**request)
            except Exception as error:  # noqa: BLE001 - it comes out again, or the list is begun again
                request = pages.throw(error)
            else:
                request = pages.send(page)
        except StopIteration as end:
            shards: list[dict[str, Any]] = end.value
            return shards


Pages = Generator[dict[str, Any], Mapping[str, Any], list[dict[str, Any]]]


def shard_pages(stream: Mapping[str, str], shard_filter: Mapping[str, str] | None = None) -> Pages:
    """Yield the parameters of each call of ListShards; it is sent the page, or thrown the error. Returns the shards."""
    for _ in range(TRIES - 1):
        try:
            return (yield from _follow_pages(stream, shard_filter))
        except Exception as error:
            response = getattr(error, "response", None) or {}  # as botocore's ClientError has it
            if response.get("Error", {}).get("Code") != "ExpiredNextTokenException":
                raise
    return (yield from _follow_pages(stream, shard_filter))


def _follow_pages(stream: Mapping[str, str], shard_filter: Mapping[str, str] | None) -> Pages:
    shards: dict[str, dict[str, Any]] = {}
    tokens: set[str] = set()
    request: dict[str, Any] = dict(stream) if shard_filter is None else {**stream, "ShardFilter": dict(shard_filter)}
    while True:
        page = yield request
        if "Shards" not in page and not page.get("NextToken"):
            raise BrokenAnswerError("ListShards", "Shards")
        for shard in page.get("Shards", ()):
            shards[shard["ShardId"]] = (
                shard  # a stream that changes meanwhile may show one on two pages: the later holds
            )
        token = page.get("NextToken")
        if not token:
            return list(shards.values())
        if token in tokens:
            raise EndlessListError(f"ListShards gave the page token {token!r:.100} twice: its list has no end")
        tokens.add(token)
        # a page's token stands for the stream and the filter: the service refuses them beside it, but not the id, by
        # which the page is asked for where the one before it was
        request = {"NextToken": token} | {name: stream[name] for name in stream if name == "StreamId"}
