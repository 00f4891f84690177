"""Tell whoever watches how far a slow piece of work is. Standard library only: it travels to hosts."""

from __future__ import annotations

import json
import os
import time


def report(message, fraction=None):
    # type: (str, float | None) -> None
    """Append one line to the file that VOXTRAL_PROGRESS names; do nothing where it names none.

    ``fraction`` is between 0 and 1, or None when nobody can know.
    """
    path = os.environ.get("VOXTRAL_PROGRESS")
    if not path:
        return
    line = json.dumps({"time": time.time(), "message": message, "fraction": fraction}) + "\n"
    try:
        # One write of less than a page to a file opened for appending is not torn.
        with open(path, "a", encoding="utf-8") as stream:  # noqa: PTH123 - also runs on old Pythons
            stream.write(line)
    except OSError:
        # Progress is a courtesy: a full disk is reported by the work itself.
        return
