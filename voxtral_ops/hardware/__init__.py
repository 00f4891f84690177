"""What is here: processors, memory, GPUs, the operating system."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os

    from voxtral_ops.hardware.profile import Profile


def look(paths: Iterable[str | os.PathLike[str]] = ()) -> Profile:
    """Profile this machine. ``paths``: directories, existing or not, whose free space matters."""
    from voxtral_ops.hardware.probe import probe  # noqa: PLC0415 - the package stays light to import
    from voxtral_ops.hardware.profile import Profile  # noqa: PLC0415

    return Profile.model_validate(probe(list(paths)))
