"""What vLLM is doing while it starts, read from its own log lines, and how far it is."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Phase:
    """One stretch of a start. ``seconds``: as measured on two quiet CPU cores with a small model."""

    name: str
    title: str
    seconds: float
    begins: re.Pattern[str]
    """The log line that shows that this phase has begun."""


PHASES = (
    Phase("importing", "importing vLLM", 10.0, re.compile(r"(?!)")),
    Phase("configuring", "reading the configuration", 12.0, re.compile(r"non-default args:")),
    Phase(
        "engine",
        "starting the engine process",
        11.0,
        re.compile(r"Multi-modal warmup completed|Enforce eager set"),
    ),
    Phase("workers", "starting the workers", 12.0, re.compile(r"EngineCore.*Initializing a V1 LLM engine")),
    Phase("loading", "loading weights", 2.0, re.compile(r"Starting to load model")),
    Phase("warming", "warming up", 2.0, re.compile(r"Loading weights took|Model loading took")),
    Phase("opening", "opening the door", 1.0, re.compile(r"init engine \(profile|Starting vLLM server on")),
)
READY = "ready"

_SHARDS = re.compile(r"checkpoint shards:\s+(\d+)% Completed")
_NEVER_MORE = 0.98


@dataclass
class StartProgress:
    """Feed it vLLM's lines; ask it where the start is. Phases only go forward.

    ``known`` holds the seconds that each phase took at the last start on this machine, where there was one.
    """

    clock: Callable[[], float]
    known: dict[str, float] = field(default_factory=dict)
    _index: int = 0
    _began: float = field(init=False)
    _shards: float = 0.0
    took: dict[str, float] = field(default_factory=dict)
    """Seconds of each phase that is over."""

    def __post_init__(self) -> None:
        self._began = self.clock()

    @property
    def phase(self) -> Phase:
        """Where the start is."""
        return PHASES[self._index]

    def feed(self, line: str) -> bool:
        """Look at one line. Returns whether there is something new to tell."""
        for index in range(len(PHASES) - 1, self._index, -1):
            if PHASES[index].begins.search(line):
                self._enter(index)
                return True
        shards = _SHARDS.search(line)
        if shards:
            self._shards = int(shards[1]) / 100
            return True
        return False

    def finish(self) -> dict[str, float]:
        """The start is over: the seconds of every phase, to be ``known`` next time."""
        self.took[self.phase.name] = self.clock() - self._began
        return dict(self.took)

    def fraction(self) -> float:
        """Between 0 and 1: expected seconds gone by over all expected seconds.

        Inside a phase time counts, but never past the phase's expected end: a start that is slower than the
        last one waits there instead of promising.
        """
        expected = [max(self._expected(phase), 0.01) for phase in PHASES]
        done = sum(expected[: self._index])
        here = min((self.clock() - self._began) / expected[self._index], 0.95)
        if self.phase.name == "loading":
            here = max(here, min(self._shards, 0.95))
        return min((done + here * expected[self._index]) / sum(expected), _NEVER_MORE)

    def _expected(self, phase: Phase) -> float:
        return self.known.get(phase.name, phase.seconds)

    def _enter(self, index: int) -> None:
        now = self.clock()
        self.took[self.phase.name] = now - self._began
        for skipped in PHASES[self._index + 1 : index]:
            self.took[skipped.name] = 0.0
        self._index, self._began = index, now
