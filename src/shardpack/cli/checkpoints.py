"""shardpack checkpoints: how far readers have come, shown, taken elsewhere, set anew."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from ..errors import abridged
from .client import aws_options, make_client
from .console import Stdout
from .inspect import visible
from .outcome import BadInputError, exit_on_error, os_error_text, print_json, tell
from .parameters import FILE, OneOf, argument, command, option

if TYPE_CHECKING:
    from ..consume.stream.checkpoints import Checkpoint, Kept
    from ..consume.stream.dynamodb_checkpoints import DynamoDBCheckpoints
    from ..consume.stream.shards import ListedShard
    from ..consume.stream.sqlite_checkpoints import SQLiteCheckpoints

    Store = SQLiteCheckpoints | DynamoDBCheckpoints

DYNAMODB = "dynamodb:"


class Action(Enum):
    SHOW = "show"
    EXPORT = "export"
    IMPORT = "import"
    RESET = "reset"


@command
@argument("action", metavar="show|export|import|reset", type=OneOf(Action), help="What to do.")
@argument("store", metavar="STORE", help="File of SQLiteCheckpoints, or dynamodb:TABLE, a KCL's lease table too.")
@argument("file", metavar="FILE", type=FILE, required=False, help="import: lines as export prints them; - is stdin.")
@option("--stream", metavar="STREAM", help="Those of this stream, name or ARN; import: they become those of this one.")
@option("--consumer", metavar="NAME", help="Those of this consumer; import: they become those of this one.")
@option("--to", metavar="START", help="reset: trim-horizon, latest, an ISO 8601 time or epoch seconds.")
@option("--create", is_flag=True, help="import: make the file or table if it is not there.")
@option("--json", "as_json", is_flag=True, help="Print JSON: of show a line each, of import and reset one object.")
@aws_options
def checkpoints(  # noqa: PLR0917 (click calls it)
    action: Action,
    store: str,
    file: str | None,
    stream: str | None,
    consumer: str | None,
    to: str | None,
    create: bool,
    as_json: bool,
    region: str | None,
    endpoint_url: str | None,
    profile: str | None,
) -> None:
    """Show how far readers have come, take it elsewhere, or set it anew.

    export prints a line of JSON for each shard, which import enters into another
    store; none is moved back. reset asks the stream for its shards and has all of
    them begin at --to. Both fail while a reader that lives has the checkpoints.

    \b
      shardpack checkpoints show ckpt.db
      shardpack checkpoints export ckpt.db | shardpack checkpoints import dynamodb:app - --create
      shardpack checkpoints reset ckpt.db --stream telemetry --to 2026-01-31T12:00:00Z
    """
    with exit_on_error(), ExitStack() as closing:
        _refuse_what_does_not_go_together(action, file=file, to=to, create=create, stream=stream)
        aws = (region, endpoint_url, profile)

        def opened(name: str = "", *, anew: bool = False) -> Store:
            return closing.enter_context(_open(store, name, aws, create=create and anew))

        match action:
            case Action.SHOW | Action.EXPORT:
                found = _selected(opened(_table_of(store, consumer)).kept(), store, stream, consumer)
                if action is Action.EXPORT or as_json:
                    for one in found:
                        print_json(_line(one))
                else:
                    _show(found)
            case Action.IMPORT:
                lines = _parse(_read(str(file)), stream, consumer)
                for name, group in _by(lines, 1).items():
                    into = opened(name, anew=True)
                    for of, kept in _by(group, 0).items():
                        _enter(into, of, kept)
                _tell_done(as_json, len(lines), f"{store}: {len(lines):,} checkpoints entered")
            case Action.RESET:
                count = _reset(opened(consumer or ""), str(stream), str(to), aws)
                _tell_done(as_json, count, f"{store}: {count:,} shards of {stream} begin at {to}")


def _refuse_what_does_not_go_together(action: Action, **given: Any) -> None:
    """Say what is missing, and what an action does not take."""
    wanted = {Action.IMPORT: {"file"}, Action.RESET: {"to", "stream"}}.get(action, set())
    taken = wanted | ({"create"} if action is Action.IMPORT else set()) | {"stream"}
    names = {name: "FILE" if name == "file" else f"--{name}" for name in given}
    for name, value in given.items():
        if name in wanted and not value:
            raise BadInputError(f"{action.value} needs {names[name]}")
        if value and name not in taken:
            raise BadInputError(f"{action.value} takes no {names[name]}")


@contextmanager
def _open(
    store: str, consumer: str, aws: tuple[str | None, str | None, str | None], *, create: bool
) -> Iterator[Store]:
    if store.startswith(DYNAMODB):
        from ..consume.stream.dynamodb_checkpoints import DynamoDBCheckpoints  # noqa: PLC0415 (loads botocore)

        try:
            table = DynamoDBCheckpoints(
                store.removeprefix(DYNAMODB),
                client=make_client(*aws, service="dynamodb"),
                consumer=consumer,
                create=create,
            )
        except ValueError as error:
            raise BadInputError(str(error)) from None
        try:
            yield table
        finally:
            table.release()
    else:
        from ..consume.stream.sqlite_checkpoints import SQLiteCheckpoints  # noqa: PLC0415

        if not create and not Path(store).exists():  # it would be made
            raise BadInputError(f"{store}: no such file; STORE is a file of checkpoints, or dynamodb:TABLE")
        with SQLiteCheckpoints(store, consumer=consumer) as file:
            yield file


def _table_of(store: str, consumer: str | None) -> str:
    """Return the consumer whose table is opened; a file has those of all."""
    return consumer or "" if store.startswith(DYNAMODB) else ""


def _selected(found: Iterable[Kept], store: str, stream: str | None, consumer: str | None) -> list[Kept]:
    chosen = [
        one
        for one in found
        if (stream is None or one.stream in (stream, None))
        and (consumer is None or store.startswith(DYNAMODB) or one.consumer == consumer)
    ]
    if not chosen:
        raise BadInputError(f"{store}: no checkpoints" + ("" if stream is consumer is None else " of these"))
    return chosen


def _line(one: Kept) -> dict[str, Any]:
    """Return a checkpoint as a line of export."""
    shard = one.shard
    return {
        "stream": one.stream,
        "consumer": one.consumer,
        "shard_id": one.shard_id,
        "sequence_number": one.checkpoint.sequence_number,
        "sub_sequence_number": one.checkpoint.sub_sequence_number,
        "read_up_to": one.checkpoint.read_up_to,
        "owner": one.owner,
        "starting_hash_key": None if shard is None else str(shard.starting_hash_key),
        "ending_hash_key": None if shard is None else str(shard.ending_hash_key),
        "parents": None if shard is None else list(shard.parents),
    }


def _show(found: list[Kept]) -> None:
    """Show a table for each stream and consumer."""
    for stream, consumer, owner in dict.fromkeys((one.stream, one.consumer, one.owner) for one in found):
        title = Text("of a stream that is not named" if stream is None else visible(stream), "bold")
        title.append(f"  consumer {visible(consumer)}" if consumer else "", "default")
        title.append(f"  {visible(owner)} has them" if owner else "  nobody has them", "dim")
        table = Table(title=title, title_justify="left", box=None, pad_edge=False)
        table.add_column("shard")
        table.add_column("handled up to", overflow="fold")
        table.add_column("what came until")
        for one in found:
            if (one.stream, one.consumer, one.owner) == (stream, consumer, owner):
                up_to = one.checkpoint.read_up_to
                table.add_row(visible(one.shard_id), str(one.checkpoint), "" if up_to is None else _utc(up_to))
        with Stdout() as out:
            out.print(table)


def _utc(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


Line = tuple[str, str, "ListedShard", "Checkpoint"]


def _read(file: str) -> list[bytes]:
    if file == "-":
        return sys.stdin.buffer.read().splitlines()
    try:
        return Path(file).read_bytes().splitlines()
    except OSError as error:
        raise BadInputError(f"{file}: {os_error_text(error)}") from None


def _parse(lines: list[bytes], stream: str | None, consumer: str | None) -> list[Line]:
    from ..consume.stream.checkpoints import Checkpoint  # noqa: PLC0415
    from ..consume.stream.shards import ListedShard  # noqa: PLC0415

    found: list[Line] = []
    for number, text in enumerate(lines, 1):
        if not text.strip():
            continue
        try:
            line = json.loads(text)
            of = stream or line["stream"]
            if not of:
                raise BadInputError(f"line {number} names no stream: give --stream")
            starting, ending = line.get("starting_hash_key"), line.get("ending_hash_key")
            shard = ListedShard(
                str(line["shard_id"]),
                0 if starting is None else int(starting),
                2**128 - 1 if ending is None else int(ending),
                tuple(map(str, line.get("parents") or ())),
            )
            up_to = line.get("read_up_to")
            checkpoint = Checkpoint(
                line["sequence_number"], line.get("sub_sequence_number", 0), None if up_to is None else float(up_to)
            )
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            if isinstance(error, BadInputError):
                raise
            raise BadInputError(
                f"line {number} is no checkpoint as export prints them, {abridged(text)}: {error}"
            ) from None
        found.append((str(of), line.get("consumer") or "" if consumer is None else consumer, shard, checkpoint))
    if not found:
        raise BadInputError("no checkpoints to import")
    return found


def _by(lines: list[Line], place: int) -> dict[str, list[Line]]:
    groups: dict[str, list[Line]] = {}
    for line in lines:
        groups.setdefault(str(line[place]), []).append(line)
    return groups


def _owner() -> str:
    return f"shardpack checkpoints, process {os.getpid()}"


def _enter(store: Store, stream: str, lines: list[Line]) -> None:
    store.claim(stream, _owner())
    try:
        store.begin({shard: checkpoint for _, _, shard, checkpoint in lines})
        store.write({shard.shard_id: checkpoint for _, _, shard, checkpoint in lines})
    finally:
        store.release()


def _reset(store: Store, stream: str, to: str, aws: tuple[str | None, str | None, str | None]) -> int:
    from ..consume.stream.checkpoints import (  # noqa: PLC0415
        AT_TIMESTAMP,
        LATEST,
        SHARD_END,
        TRIM_HORIZON,
        Checkpoint,
    )
    from ..consume.stream.shards import ListedShard  # noqa: PLC0415
    from ..transport.list_shards import list_all_shards  # noqa: PLC0415
    from ..transport.naming import stream_parameters  # noqa: PLC0415
    from .tail import starting_position  # noqa: PLC0415

    try:
        start = starting_position(to)
    except BadInputError as error:
        raise BadInputError(str(error).replace("--from", "--to")) from None
    began = time.time()
    listed = list_all_shards(make_client(*aws), stream_parameters(stream))
    shards = [ListedShard.of(one) for one in listed]
    positions: Mapping[bool, Checkpoint]
    if start == "latest":  # a shard that is closed has nothing new
        positions = {False: Checkpoint(LATEST, read_up_to=began), True: Checkpoint(SHARD_END)}
    else:
        one = Checkpoint(TRIM_HORIZON) if start == "trim_horizon" else None
        one = one or Checkpoint(AT_TIMESTAMP, read_up_to=start.timestamp())  # type: ignore[union-attr]
        positions = {False: one, True: one}
    store.claim(stream, _owner())
    try:
        store.replace({shard: positions[shard.closed] for shard in shards})
    finally:
        store.release()
    return len(shards)


def _tell_done(as_json: bool, count: int, text: str) -> None:
    if as_json:
        print_json({"checkpoints": count})
    else:
        tell(text)
