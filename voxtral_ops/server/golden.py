"""The golden clips: short recordings that ship with the package, and the words in them."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from voxtral_ops.catalog import DATA
from voxtral_ops.errors import ReleaseError

GOLDEN = DATA / "golden"


class GoldenClip(BaseModel):
    """One recording: its file beside ``golden.toml``, its words, its length in seconds."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    file: str
    text: str = Field(min_length=1)
    seconds: float
    container: str
    """wav, mp3, m4a, flac or ogg."""
    sha256: str
    path: Path

    def read(self) -> bytes:
        """The file as it is. Raises ReleaseError when it is not the file that golden.toml names."""
        try:
            data = self.path.read_bytes()
        except OSError as error:
            raise ReleaseError(f"golden clip {self.path}: {error.strerror}", hint=_HINT, path=self.path) from error
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise ReleaseError(
                f"golden clip {self.path} is not the file that golden.toml names (sha256 differs)",
                hint=_HINT,
                path=self.path,
            )
        return data


def golden_clips(directory: Path = GOLDEN) -> tuple[GoldenClip, ...]:
    """Every clip of a ``golden.toml``. Raises ReleaseError when there is none, or it cannot be read."""
    path = directory / "golden.toml"
    try:
        raw: list[dict[str, Any]] = tomllib.loads(path.read_text(encoding="utf-8")).get("clip", [])
        clips = tuple(GoldenClip(**entry, path=directory / entry["file"]) for entry in raw)
    except (OSError, tomllib.TOMLDecodeError, ValidationError, KeyError, TypeError) as error:
        raise ReleaseError(f"{path} cannot be read: {error}", hint=_HINT, path=path) from error
    if not clips:
        raise ReleaseError(f"{path} names no clip", hint=_HINT, path=path)
    return clips


def gate_clips(clips: tuple[GoldenClip, ...], plain: int = 3) -> tuple[GoldenClip, ...]:
    """The first ``plain`` clips, and one more of every container that is not among them."""
    chosen = list(clips[:plain])
    for clip in clips[plain:]:
        if clip.container not in {other.container for other in chosen}:
            chosen.append(clip)
    return tuple(chosen)


_HINT = "the installation of voxtral_ops is damaged: install it anew"
