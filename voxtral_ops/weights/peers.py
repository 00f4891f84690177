"""Take models from seeds of the LAN, one after the other: the hash decides which of them told the truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from urllib.parse import quote, urlsplit

from voxtral_ops.errors import ConfigurationError, HostError, NetworkError, VoxtralError
from voxtral_ops.release import ReleaseFile, ReleaseModel
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


def is_seed(place: str) -> bool:
    """Whether a place is an address rather than a directory."""
    return place.startswith(("http://", "https://"))


def take(
    urls: Sequence[str],
    install: Callable[[SeedSource], bool],
    model: ReleaseModel,
    tell: Callable[[str], None] = lambda _: None,
) -> bool:
    """Install a model from the first seed that has it right. What was proven of one is not asked of the next.

    Raises HostError as it comes: this host's disk is not the seeds' fault. Otherwise, when every seed failed, a
    NetworkError that names each of them and why.
    """
    reasons = []
    for url in urls:
        if not urlsplit(url).hostname:
            raise ConfigurationError(f"{url!r} is no seed's address", hint="write http://host:port")
        try:
            return install(SeedSource(url, model))
        except HostError:
            raise
        except VoxtralError as error:
            reasons.append(f"{url}: {error.message}")
            tell(f"dropped the seed {url}: {error.message}")
    raise NetworkError(
        f"{model.name} could not be taken from any of {len(urls)} seeds: {'; '.join(reasons)}",
        hint="is `voxtral-ops weights seed` running there, and is the model installed?",
        seeds=list(urls),
    )
