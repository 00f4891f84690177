"""Whose the files are: whoever owns the models directory reads them, and nobody else."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Access:
    """Owner and modes of one installed model. ``owner`` is None where they stay the installing user's."""

    owner: tuple[int, int] | None
    directory: int
    file: int

    def differs(self, path: Path) -> bool:
        """Look whether a file or directory has another owner or another mode."""
        return self._differs(path.lstat())

    def apply(self, path: Path) -> None:
        """Give a file or directory its owner and mode, if it has not got them."""
        # By descriptor: in a directory of the service's own, a name may become a link at any moment.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            facts = os.fstat(descriptor)
            if self._differs(facts):
                if self.owner is not None:
                    os.fchown(descriptor, *self.owner)
                os.fchmod(descriptor, self._mode(facts))
        finally:
            os.close(descriptor)

    def _differs(self, facts: os.stat_result) -> bool:
        return stat.S_IMODE(facts.st_mode) != self._mode(facts) or self.owner not in {
            None,
            (facts.st_uid, facts.st_gid),
        }

    def _mode(self, facts: os.stat_result) -> int:
        return self.directory if stat.S_ISDIR(facts.st_mode) else self.file


PUBLIC = Access(owner=None, directory=0o755, file=0o644)
"""For what any application on the machine may load."""


def service_access(root: Path) -> Access:
    """Who may read the models below ``root``: its owner, which on a provisioned host is the service's user."""
    owner = None
    if os.geteuid() == 0 and root.is_dir():
        facts = root.stat()
        owner = (facts.st_uid, facts.st_gid)
    return Access(owner=owner, directory=0o750, file=0o640)
