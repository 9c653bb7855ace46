"""Help at every width, what a start of the command loads, and completion in a shell."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from inspect import cleandoc
from itertools import pairwise

import click
import pytest

from shardpack.cli.app import COMMANDS, app, load

NAMES = [*COMMANDS, "completion"]
WIDTHS = [40, 60, 80, 120, 200]

LOADED = """
import sys
from shardpack.cli import main
try:
    main()
finally:
    print(*sys.modules, file=sys.stderr)
"""


def find(name: str | None) -> click.Command:
    if name is None:
        return app
    return load(name) if name in COMMANDS else app.commands[name]


def help_of(name: str | None) -> str:
    command = find(name)
    with click.Context(app, info_name="shardpack") as parent:
        context = parent if name is None else click.Context(command, info_name=name, parent=parent)
        return click.unstyle(command.get_help(context))


def examples(command: click.Command) -> list[str]:
    found = re.findall(r"\x08\n((?:.+\n?)+)", cleandoc(command.help or ""))
    return [line for paragraph in found for line in paragraph.splitlines()]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", [None, *NAMES])
def test_help_is_as_wide_as_the_terminal(monkeypatch, name, width):
    monkeypatch.setenv("COLUMNS", str(width))
    command = find(name)
    shown = help_of(name).splitlines()
    verbatim = examples(command)
    assert verbatim
    assert [line for line in shown if line in verbatim] == verbatim
    assert [line for line in shown if len(line) > width and line not in verbatim] == []
    flowing = " ".join(word for line in shown if line not in verbatim for word in line.split())
    for paragraph in cleandoc(command.help or "").split("\n\n"):
        if not paragraph.startswith("\b"):
            assert " ".join(paragraph.split()) in flowing
    for param in command.params:
        assert set(param.opts) <= set(flowing.replace(",", "").split()) or isinstance(param, click.Argument)
        assert " ".join(getattr(param, "help", "").split()) in flowing
    assert "…" not in flowing


@pytest.mark.parametrize("name", NAMES)
def test_paragraphs_fill_their_lines(monkeypatch, name):
    monkeypatch.setenv("COLUMNS", "60")
    command = find(name)
    shown = help_of(name).split("\n\n")
    for paragraph in shown[1 : 1 + cleandoc(command.help or "").count("\n\n")]:
        lines = paragraph.splitlines()
        for line, following in pairwise(lines):
            assert line.startswith("  ") or len(f"{line} {following.split()[0]}") > 60


def test_usage_names_arguments_as_they_are_given(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    usage = {name: help_of(name).splitlines()[0] for name in (None, "put", "tail", "redrive", "bench")}
    assert usage == {
        None: "Usage: shardpack [OPTIONS] COMMAND [ARGS]...",
        "put": "Usage: shardpack put [OPTIONS] STREAM [FILE]",
        "tail": "Usage: shardpack tail [OPTIONS] STREAM",
        "redrive": "Usage: shardpack redrive [OPTIONS] FROM TO",
        "bench": "Usage: shardpack bench [OPTIONS]",
    }


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_what_their_help_begins_with(name):
    assert cleandoc(load(name).help or "").split("\n\n")[0] == COMMANDS[name]


def test_colours_are_for_terminals_that_want_them(monkeypatch):
    with click.Context(app, info_name="shardpack") as context:
        monkeypatch.delenv("NO_COLOR", raising=False)
        monkeypatch.setenv("TERM", "xterm")
        coloured = app.get_help(context)
        assert "\x1b[1m" in coloured
        monkeypatch.setenv("NO_COLOR", "1")
        assert app.get_help(context) == click.unstyle(coloured)


# --- what is loaded ---


def test_the_version_is_that_of_the_package(shardpack):
    done = shardpack("--version")
    assert (done.returncode, done.stdout) == (0, f"shardpack {version('shardpack')}\n")


@pytest.mark.parametrize(
    ("arguments", "unwanted"),
    [
        (["--version"], "click rich boto3 botocore logging email asyncio"),
        (["--help"], "rich boto3 botocore asyncio"),
        (["inspect", "{blob}"], "boto3 botocore asyncio"),
        (["inspect", "--help"], "boto3 botocore asyncio"),
        (["put", "--help"], "boto3 botocore"),
        (["tail", "--help"], "boto3 botocore"),
        (["doctor", "--help"], "boto3 botocore"),
        (["redrive", "--help"], "boto3 botocore"),
        (["reshard", "--help"], "boto3 botocore"),
        (["demo", "--help"], "boto3 botocore"),
        (["bench", "--help"], "boto3 botocore"),
    ],
)
def test_what_needs_no_service_loads_no_boto3(command_environment, tmp_path, arguments, unwanted):
    blob = tmp_path / "blob"
    blob.write_bytes(b'{"Data": "e30="}')
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *(str(blob) if argument == "{blob}" else argument for argument in arguments)],
        capture_output=True,
        check=False,
        timeout=60,
        env=command_environment,
        encoding="utf-8",
    )
    loaded = done.stderr.split()
    assert done.stdout
    assert "shardpack.cli" in loaded
    assert {name.partition(".")[0] for name in loaded} & set(unwanted.split()) == set()


# --- completion ---


@pytest.fixture(scope="module")
def on_path(tmp_path_factory):
    """A folder with the command as its users have it."""
    folder = tmp_path_factory.mktemp("bin")
    script = folder / "shardpack"
    script.write_text(f"#!{sys.executable}\nfrom shardpack.cli import main\nmain()\n")
    script.chmod(0o755)
    return folder


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("shardpack re", ["redrive", "reshard"]),
        ("shardpack put --e", ["--explicit-hash-key", "--endpoint-url"]),
        ("shardpack put s file --as ", ["json", "msgpack"]),
        ("shardpack completion ", ["bash", "zsh", "fish"]),
    ],
)
def test_bash_completes(on_path, command_environment, line, offered):
    words = line.split(" ")
    script = f"""
        eval "$(shardpack completion bash)" || exit 3
        COMP_WORDS=({" ".join(words[:-1])} "{words[-1]}"); COMP_CWORD={len(words) - 1}
        "$(complete -p shardpack | sed 's/.* -F \\([^ ]*\\) .*/\\1/')" shardpack
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        ["bash", "--norc", "-c", script],  # noqa: S607 (whatever bash there is)
        capture_output=True,
        check=False,
        timeout=60,
        env=command_environment | {"PATH": f"{on_path}:{os.environ['PATH']}"},
        encoding="utf-8",
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == offered


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_scripts_of_other_shells_ask_the_command(shardpack, shell):
    script = shardpack("completion", shell).stdout
    assert f"_SHARDPACK_COMPLETE={shell}_complete" in script
    if found := shutil.which(shell):
        subprocess.run([found, "-n", "-c", script], check=True, timeout=60)
    else:
        assert "CI" not in os.environ, f"no {shell}, which .ci/setup installs"
