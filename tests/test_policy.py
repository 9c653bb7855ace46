"""What the policy calls public: modules with an ``__all__`` that is right, and all that the documents import."""

from __future__ import annotations

import ast
import re
import textwrap
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
POLICY = (ROOT / "docs" / "reference" / "policy.md").read_text()
MODULES = re.findall(r"^- `(shardpack[\w.]*)`$", POLICY, re.MULTILINE)
STAND_IN = "shardpack.compat.aws_kinesis_agg"


@pytest.mark.parametrize("module", MODULES)
def test_a_public_module_names_what_is_public(module):
    found = import_module(module)
    assert sorted(set(found.__all__)) == sorted(found.__all__)
    for name in found.__all__:
        assert not name.startswith("_")
        assert getattr(found, name).__doc__, name


def imports() -> list[tuple[str, str, str]]:
    """Return each import from shardpack in the examples and the Python blocks of the documents: where, module, name."""
    sources = [(path, path.read_text()) for path in (ROOT / "examples").glob("*.py")]
    for path in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")):
        blocks = re.findall(r"^( *)```python\n(.*?)^ *```", path.read_text(), re.MULTILINE | re.DOTALL)
        sources += [(path, textwrap.dedent(block)) for _, block in blocks]
    return [
        (path.name, node.module, alias.name)
        for path, source in sources
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "shardpack"
        for alias in node.names
    ]


def test_documents_import_what_is_public():
    found = imports()
    assert len(found) > 20
    private = [
        (where, module, name)
        for where, module, name in found
        if not module.startswith(STAND_IN)
        and f"{module}.{name}" not in MODULES
        and not (module in MODULES and name in import_module(module).__all__)
    ]
    assert private == []
