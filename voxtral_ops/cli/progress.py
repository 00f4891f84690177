"""Draw the events of a run as a person likes it: what is happening, how far, what was decided."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from voxtral_ops.cli.output import colour, say

SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


@dataclass(frozen=True)
class Phase:
    """One finished part of the run and the seconds it took."""

    name: str
    seconds: float
    changed: bool


class Painter:
    """One line per phase; on a terminal the running one is alive, elsewhere it is printed when it ends.

    Use as a context manager: leaving it restores the terminal.
    """

    def __init__(self) -> None:
        self.phases: list[Phase] = []
        self._title = ""
        self._began = 0.0
        self._changed = False
        self._message = ""
        self._status: Any = None
        self._live = sys.stderr.isatty()

    def __enter__(self) -> Painter:
        if self._live:
            from rich.console import Console  # noqa: PLC0415 - only where there is a terminal
            from rich.live import Live  # noqa: PLC0415

            console = Console(stderr=True)
            self._status = Live(console=console, refresh_per_second=8, transient=True, get_renderable=self._line)
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status is not None:
            self._status.stop()

    def begin(self, title: str) -> None:
        """A new phase; the one before it is finished. The same title again changes nothing."""
        if title == self._title:
            return
        self.finish()
        self._title, self._began, self._changed, self._message = title, time.monotonic(), False, ""
        if not self._live:
            say(f"   {title} …")

    def message(self, text: str, fraction: float | None = None) -> None:
        """What is going on inside the phase, and how far it is (0 to 1) where that is known."""
        share = "" if fraction is None else f" {fraction:.0%}"
        self._message = f"{text}{share}"

    def changed(self) -> None:
        """Something was changed in this phase."""
        self._changed = True

    def decided(self, text: str) -> None:
        """What was decided, and why."""
        self._print(f"     {text}")

    def finish(self, failed: bool = False) -> None:
        """The phase is over."""
        if not self._title:
            return
        seconds = time.monotonic() - self._began
        mark = colour("✗", "31") if failed else colour("✓", "32")
        note = "" if self._changed or failed else colour("  nothing to do", "2")
        self._print(f" {mark} {self._title}  {colour(f'{seconds:.0f} s', '2')}{note}")
        self.phases.append(Phase(self._title, round(seconds, 1), self._changed))
        self._title = ""

    def _print(self, text: str) -> None:
        if self._status is not None:
            from rich.text import Text  # noqa: PLC0415

            self._status.console.print(Text.from_ansi(text))
        else:
            say(text)

    def _line(self) -> Any:
        from rich.text import Text  # noqa: PLC0415

        if not self._title:
            return Text("")
        now = time.monotonic()
        line = Text(f" {SPINNER[int(now * 8) % len(SPINNER)]} {self._title}  ", style="bold", no_wrap=True)
        line.append(f"{now - self._began:.0f} s  ", style="dim")
        line.append(self._message, style="not bold cyan")
        line.truncate(self._status.console.width, overflow="ellipsis")
        return line
