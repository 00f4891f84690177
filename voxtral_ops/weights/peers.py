"""Take models from seeds of the LAN, one after the other: the hash decides which of them told the truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import quote, urlsplit

from voxtral_ops.errors import ConfigurationError, HostError, NetworkError, VoxtralError
from voxtral_ops.release import ReleaseFile, ReleaseModel
from voxtral_ops.weights.sources import DirectorySource, Source
from voxtral_ops.weights.transport import Line, Reading, Remote


class SeedSource:
    """A model on one seed, at the addresses that a hub would have it at."""

    def __init__(self, url: str, model: ReleaseModel) -> None:
        self.name = f"the seed {url}"
        self._base = f"{url.rstrip('/')}/{quote(model.repository)}/resolve/{model.revision}"
        self._line = Line(self.name)

    @property
    def streams(self) -> int:
        """How many readings may run at once."""
        return self._line.streams

    def open(self, file: ReleaseFile, start: int, stop: int) -> Reading:
        """Ask for a range."""
        return self._line.open(Remote(f"{self._base}/{quote(file.path)}"), file, start, stop)


def place_source(place: str, model: ReleaseModel) -> Source:
    """A directory, or a seed by its address."""
    if "://" not in place:
        return DirectorySource(Path(place))
    parts = urlsplit(place)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ConfigurationError(f"{place!r} is no seed's address", hint="write http://host:port, or a directory")
    return SeedSource(place, model)


def take(
    places: Sequence[str],
    install: Callable[[Source], bool],
    model: ReleaseModel,
    tell: Callable[[str], None] = lambda _: None,
) -> bool:
    """Install a model from the first place that has it right. What came right from one is not asked of the next.

    Raises HostError as it comes: this host's disk is not a seed's fault. A single place's error is raised as it is;
    where several failed, a NetworkError names each of them and why.
    """
    if not places:
        raise ConfigurationError(f"nobody said where {model.name} is to be had", hint="name a directory, or a seed")
    failures = []
    for place in places:
        source = place_source(place, model)
        try:
            return install(source)
        except HostError:
            raise
        except VoxtralError as error:
            failures.append(error)
            if len(places) > 1:
                tell(f"dropped {place}: {error.message}")
    if len(failures) == 1:
        raise failures[0]
    raise NetworkError(
        f"{model.name} could not be had from any of {len(places)} places: "
        + "; ".join(error.message for error in failures),
        hint="is `voxtral-ops weights seed` running there, and is the model installed?",
        places=list(places),
    )
