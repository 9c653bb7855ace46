"""The Python in documents, as readers find it: run with the documents' lines in its tracebacks."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from document_names import names_of

REPOSITORY = Path(__file__).parent.parent
ON_GITHUB = "https://github.com/shardpack/shardpack/blob/main/"
TOP = "(top)"


def sections(document: str) -> dict[str, list[tuple[int, str]]]:
    """Return the Python blocks below each heading that has some, each with the number of its first line."""
    found: dict[str, list[tuple[int, str]]] = {}
    heading, block, first = TOP, None, 0
    for number, line in enumerate(REPOSITORY.joinpath(document).read_text().splitlines(), 1):
        if block is None and (title := re.match("##+ (.*)", line)):
            heading = title[1]
        elif block is None and line == "```python":
            block, first = [], number + 1
        elif block is not None and line == "```":
            found.setdefault(heading, []).append((first, "\n".join(block) + "\n"))
            block = None
        elif block is not None:
            block.append(line)
    return found


def broken_links(document: Path) -> list[str]:
    """Return the links to other files, and to headings, that lead nowhere."""
    text = re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL)
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, heading = link.partition("#")
        if path.startswith(ON_GITHUB):
            path = str(REPOSITORY / path.removeprefix(ON_GITHUB))
        target = document.parent / path if path else document
        if "://" in path or (target.exists() and (not heading or heading in _anchors(target))):
            continue
        broken.append(link)
    return broken


def _anchors(document: Path) -> set[str]:
    titles = re.findall("^#+ (.*)", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def run(document: str, heading: str, **names: Any) -> dict[str, Any]:
    """Run the blocks of a section one after the other, with these names, and return what they leave."""
    namespace: dict[str, Any] = {"__name__": "__main__", **names_of(document, heading), **names}
    for first, source in sections(document)[heading]:
        if "signal.SIGTERM" in source:
            threading.Thread(target=_terminate, daemon=True).start()
        exec(compile("\n" * (first - 1) + source, REPOSITORY / document, "exec"), namespace)  # noqa: S102 - our own
    return namespace


def main(*programs: str) -> None:
    """Run these sections, each named by document, "#" and heading, in a namespace of its own."""
    for program in programs:
        document, _, heading = program.partition("#")
        run(document, heading)


def _terminate() -> None:
    """Have the process told to end, once it listens."""
    while signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main(*sys.argv[1:])
