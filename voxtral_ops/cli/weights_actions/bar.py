"""A bar with rate and time left while models are fetched: on a terminal; elsewhere only what is worth a line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from voxtral_ops.cli.output import say
from voxtral_ops.weights import Watch

MEASURED = ("fetching ", "reading again ")


@contextmanager
def watching(title: str) -> Iterator[Watch]:
    """Show what a fetch tells, until the block ends."""
    if not sys.stderr.isatty():
        yield _remarks
        return
    from rich.console import Console  # noqa: PLC0415 - only where there is a terminal
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn  # noqa: PLC0415

    columns = ("{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    # Rich would take what belongs on stdout to the terminal.
    with Progress(*columns, console=console, transient=True, redirect_stdout=False) as progress:
        task = progress.add_task(title, total=None)

        def draw(text: str, done: int, total: int) -> None:
            if text.startswith(MEASURED):
                # What an interrupted fetch left is there at once: it is no measure for the time that is left.
                if text.startswith(MEASURED[1]):
                    progress.reset(task)
                progress.update(task, description=text, completed=done, total=total)
            else:
                progress.console.print(f"   {text}", markup=False, highlight=False)

        yield draw


def _remarks(text: str, done: int, total: int) -> None:
    if not text.startswith(MEASURED):
        say(f"   {text}")
