"""What is printed to: the consoles of rich, which is loaded only once there is something to print."""

from __future__ import annotations

from rich.console import Console

stderr = Console(stderr=True, highlight=False)


class Stdout(Console):
    """Prints to standard output; a reader that is gone is for ``until_reader_leaves`` to notice."""

    def __init__(self) -> None:
        super().__init__(highlight=False)

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError
