"""What commands show on a terminal while they run, of which nothing stays. Of put it is `test_cli_put.py`'s."""

from __future__ import annotations

import signal
import subprocess

import pytest
from letters import letter
from terminal import on_terminal, screen

CURSOR_OFF, CURSOR_ON = "\x1b[?25l", "\x1b[?25h"


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["demo", "--events", "500", "--shards", "1"], "Sending"),
        (["redrive", "{letters}", "{stream}", "--json", "--endpoint-url", "{url}"], "Sending"),
    ],
)
def test_a_bar_is_gone_in_the_end(  # noqa: PLR0917 (fixtures)
    shardpack, letters, path, stream, arguments, shown
):
    letters.put([letter(stream=stream)])
    places = {"{letters}": path, "{stream}": stream, "{url}": shardpack.endpoint_url}
    code, seen = on_terminal(shardpack, *(places.get(one, one) for one in arguments), stdout=subprocess.DEVNULL)
    assert code == 0
    assert shown in seen
    assert screen(seen) == []
    assert seen.count(CURSOR_OFF) == seen.count(CURSOR_ON) > 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize(("arguments", "shown"), [(["demo"], b"Sending"), (["bench", "--seconds", "9"], b"Measuring")])
def test_a_signal_leaves_the_terminal_clean(shardpack, arguments, shown, number, code):
    ended = on_terminal(shardpack, *arguments, stop_when=shown, stop_with=number, stdout=subprocess.DEVNULL)
    assert ended[0] == code
    assert screen(ended[1]) == []
    assert ended[1].count(CURSOR_OFF) == ended[1].count(CURSOR_ON) > 0


def test_an_error_stands_alone(shardpack, letters, path, stream):
    letters.put([letter(stream=stream)])
    code, seen = on_terminal(
        shardpack,
        "redrive",
        path,
        "absent",
        "--from",
        stream,
        "--json",
        "--endpoint-url",
        shardpack.endpoint_url,
        stdout=subprocess.DEVNULL,
    )
    assert code == 1
    assert "".join(screen(seen)).startswith("shardpack: DescribeStreamSummary: ResourceNotFoundException")
