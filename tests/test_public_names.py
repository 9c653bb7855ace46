"""What is public is documented where an editor and the reference look for it."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from importlib import import_module
from operator import attrgetter

import pytest
import stub_docstrings

import shardpack
from shardpack import dead_letters, tenants
from shardpack.consume import combine

PUBLIC = [
    *sorted(shardpack.__all__),
    *(
        f"{module.__name__.removeprefix('shardpack.')}.{name}"
        for module in (combine, dead_letters, tenants)
        for name in sorted(module.__all__)
    ),
]


@pytest.mark.parametrize("extension", sorted(stub_docstrings.public_names()))
def test_stubs_say_what_extensions_say(extension):
    source = stub_docstrings.STUBS.joinpath(f"{extension}.pyi").read_text()
    names = stub_docstrings.public_names()[extension]
    module = import_module(f"shardpack._native.{extension}")
    assert stub_docstrings.written(source, module, names) == source, "python tests/stub_docstrings.py"
    undocumented = [
        dotted
        for node, dotted in stub_docstrings.documented(ast.parse(source), names)
        if ast.get_docstring(node) is None
    ]
    assert undocumented == []


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_and_member_has_a_docstring(name):
    value = attrgetter(name)(shardpack)
    assert value.__doc__
    if inspect.isclass(value) and not value.__module__.startswith("shardpack._native"):
        fields = getattr(value, "__dataclass_fields__", {})
        undocumented = [
            member
            for member, found in vars(value).items()
            if not member.startswith("_") and member not in fields and _is_code(found) and not inspect.getdoc(found)
        ]
        assert undocumented == []


def _is_code(found):
    return inspect.isfunction(found) or isinstance(found, property | classmethod | staticmethod)


def test_functions_of_extensions_have_signatures():
    assert list(inspect.signature(shardpack.Aggregator.add).parameters) == [
        "self",
        "partition_key",
        "data",
        "explicit_hash_key",
    ]
    assert list(inspect.signature(shardpack.hash_key).parameters) == ["partition_key", "explicit_hash_key"]


def test_every_name_is_found_by_star_and_by_dir():
    code = "from shardpack import *; import shardpack; assert {*shardpack.__all__} <= {*dir(shardpack)} & {*globals()}"
    assert subprocess.run([sys.executable, "-W", "error", "-c", code], check=False, timeout=60).returncode == 0
