"""Command lines that documents show are ones that the commands take; the page of the command line is what they say."""

from __future__ import annotations

import re
import shlex
from importlib import import_module
from typing import Any

import pytest
from command_line_page import PAGE, page
from documents import REPOSITORY

from shardpack.cli import app as cli

GROUP: Any = cli.app if hasattr(cli.app, "make_context") else import_module("typer.main").get_command(cli.app)
TARGETS = set(re.findall(r"^([a-z-]+):.*##", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))


def shown(program: str) -> list[tuple[str, list[str]]]:
    """Return where documents show this program in blocks of shell, and its arguments."""
    found = []
    for path in [REPOSITORY / "README.md", *sorted(REPOSITORY.glob("docs/**/*.md"))]:
        for block in re.findall(r"^```sh\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE):
            for line in block.replace("\\\n", " ").splitlines():
                parts = re.split(r"\s[|&;>]+\s", re.sub(r"\s+#.*", "", line))
                where = path.relative_to(REPOSITORY).as_posix()
                found += [(where, shlex.split(part)[1:]) for part in parts if part.startswith(f"{program} ")]
    return found


def parse(arguments: list[str]) -> None:
    context = GROUP.make_context("shardpack", [*arguments])
    name, command, rest = GROUP.resolve_command(context, [*arguments])
    command.make_context(name, rest, parent=context)


@pytest.mark.parametrize("arguments", [words for _, words in shown("shardpack") if words != ["--help"]], ids=" ".join)
def test_shown_commands_are_taken(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for word in arguments[1:]:
        if re.fullmatch(r"[\w-]+\.[\w.]+", word):
            tmp_path.joinpath(word).touch()
    parse(arguments)


def test_a_command_that_is_not_taken_fails():
    with pytest.raises(Exception, match=r"[Nn]o such option"):
        parse(["tail", "telemetry", "--gone"])
    with pytest.raises(Exception, match="No such command"):
        parse(["gone"])


def test_shown_targets_of_make_are_there():
    targets = {words[0] for _, words in shown("make") if words[0] != "-C"}
    assert targets >= {"demo", "test", "bench", "fuzz"}
    assert targets <= TARGETS


def test_the_page_of_the_command_line_has_each_command_and_option():
    def options(text):
        return {
            heading: set(re.findall(r"(?<![\w-])--[a-z][\w-]*", body))
            for heading, body in re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
        }

    written = options(PAGE.read_text())
    assert written == options(page()), "python tests/command_line_page.py writes it anew"
    assert "--resume" in written["shardpack put"]
    assert {f"shardpack {name}" for name in GROUP.commands} | {"shardpack"} == set(written)
