"""``python -m bench [NAME…]``: run the benches one after the other, each alone, and write their tables and plots.

Without names: what needs nothing but this checkout. ``long`` needs a running server (--server), ``memory`` and
``cpu_plan`` an installed engine (--engine).
"""

from __future__ import annotations

import argparse
import subprocess
import sys

SERVER, ENGINE = "--server", "--engine"
BENCHES: dict[str, str | None] = {
    "startup": None,
    "client": None,
    "audio": None,
    "weights": None,
    "long": SERVER,
    "memory": ENGINE,
    "cpu_plan": ENGINE,
}


def main() -> int:
    """Run them. Returns 1 where one failed; the others run all the same."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHES)}")
    parser.add_argument(SERVER, metavar="URL")
    parser.add_argument(ENGINE, metavar="DIR")
    args = parser.parse_args()
    given = {SERVER: args.server, ENGINE: args.engine}
    failed = []
    for name in args.names or [name for name, need in BENCHES.items() if need is None or given[need]]:
        if name not in BENCHES:
            parser.error(f"no bench {name!r}: {', '.join(BENCHES)}")
        need = BENCHES[name]
        if need and not given[need]:
            parser.error(f"{name} needs {need}")
        print(f"── {name}", flush=True)
        options = [need, given[need]] if need else []
        if subprocess.run([sys.executable, "-m", f"bench.{name}", *options], check=False).returncode:
            failed.append(name)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
