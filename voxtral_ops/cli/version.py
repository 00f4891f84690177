"""`voxtral-ops version`: the versions of what is installed, without starting any of it."""

from __future__ import annotations

import argparse
import platform
from pathlib import Path

from voxtral_ops import __version__
from voxtral_ops.cli.output import emit
from voxtral_ops.paths import default_layout

EXAMPLES = """examples:
  voxtral-ops version
  voxtral-ops version --json
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """No options of its own."""


def run(args: argparse.Namespace) -> int:
    """Print this package's, Python's and the installed engines' versions."""
    home = default_layout().home
    current = home / "current"
    data = {
        "voxtral_ops": __version__,
        "python": platform.python_version(),
        "engines": _complete(home / "engines"),
        "whisper": _complete(home / "whisper"),
        "release": current.readlink().name if current.is_symlink() else None,
    }
    lines = [f"voxtral_ops {__version__}", f"python      {data['python']}"]
    lines += [f"engine      {name}" for name in _complete(home / "engines")]
    lines += [f"whisper     {name}" for name in _complete(home / "whisper")]
    lines.append(f"release     {data['release'] or 'none yet: `up` makes one'}")
    emit(args, data, "\n".join(lines))
    return 0


def _complete(folder: Path) -> list[str]:
    """Only what was installed to its end: the stamp is written last."""
    return sorted(stamp.parent.name for stamp in folder.glob("*/voxtral-complete.json"))
