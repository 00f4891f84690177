"""``python -m tests.faults [SCENARIO…]``: every fault, in every scenario or those whose names hold one of the words."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.faults.campaign import campaign, run, summary, table
from tests.faults.scenarios import SCENARIOS


def main() -> int:
    """Run, print, keep. Returns 1 where something was violated."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("words", nargs="*", metavar="SCENARIO")
    parser.add_argument("--table", type=Path, metavar="FILE", help="write the table there")
    parser.add_argument("--workers", type=int, help="processes (one for each core)")
    arguments = parser.parse_args()
    names = [each.name for each in SCENARIOS if any(word in each.name for word in arguments.words or [""])]
    rows = []
    with campaign(arguments.workers) as running:
        for name in names:
            rows.append(run(running, name))
            print(f"{name}: {rows[-1].struck} of {rows[-1].points}, {rows[-1].seconds:.0f} s", file=sys.stderr)
            print(summary(rows[-1].violations), file=sys.stderr)
    print(table(rows))
    if arguments.table:
        arguments.table.write_text(table(rows), encoding="utf-8")
    return 1 if any(row.violations for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
