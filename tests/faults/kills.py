"""``python -m tests.faults.kills``: kill -9 at random moments of a download, ours and `hf download`, side by side.

Each is started, killed and started again on a slow local hub; after the last kill it may finish. Counted at the hub:
every byte that left it. Writes bench/results/weights-kills.md where asked to.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.faults.bulk import BulkHub, bulk_hub
from tests.faults.small import BIG, FIRST, NAME, REPOSITORY, model_of_files, write_release
from voxtral_ops.weights.pieces import PIECE

CHUNK = PIECE
"""What one kill may cost."""
FROM_START, FROM_REQUEST = 1.5, 1.0
"""Seconds within which a kill comes: after the process was started, or after its first request."""
FINISH = 600


@dataclass(frozen=True)
class Subject:
    """Something that downloads: how it is started below a directory, what it finishes, and what else it leaves."""

    name: str
    command: Callable[[Path, Path], list[str]]
    finished: Callable[[Path], Path]
    strays: Callable[[Path], list[Path]]


@dataclass(frozen=True)
class Result:
    """What one subject did."""

    name: str
    size: int
    kills: int
    sent: int
    orphans: int
    orphan_bytes: int
    right: bool
    seconds: float

    @property
    def lost(self) -> float:
        """Bytes that moved twice, for each kill."""
        return (self.sent - self.size) / self.kills


def files_below(folder: Path) -> list[Path]:
    """Every file, whatever its name."""
    return [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]


def _ours_strays(home: Path) -> list[Path]:
    place = home / "models" / REPOSITORY / FIRST
    locks = [path for path in files_below(home) if path.name.endswith(".lock") and path.stat().st_size < 500]
    return [path for path in files_below(home / "models") if not path.is_relative_to(place) and path not in locks]


def _hub_strays(home: Path) -> list[Path]:
    blobs = files_below(home)
    used = {path.resolve() for path in home.rglob("snapshots/*/*")}
    return [path for path in blobs if "blobs" in path.parts and path not in used]


OURS = Subject(
    "voxtral-ops weights fetch",
    lambda home, release: [
        *(sys.executable, "-m", "voxtral_ops", "weights", "fetch", NAME),
        *("--release", str(release), "--models", str(home / "models")),
    ],
    lambda home: home / "models" / REPOSITORY / FIRST,
    _ours_strays,
)
HUB = Subject(
    "hf download",
    lambda home, release: [str(Path(sys.executable).parent / "hf"), "download", REPOSITORY, "--revision", FIRST],
    lambda home: next(home.rglob("snapshots/*"), home),
    _hub_strays,
)


def upstream(folder: Path, megabytes: int) -> dict[str, str]:
    """Write a model of random bytes; its hashes by name."""
    place = folder / FIRST
    place.mkdir(parents=True)
    noise = random.Random(megabytes)
    with (place / BIG).open("wb") as stream:
        for _ in range(megabytes):
            stream.write(noise.randbytes(1 << 20))
    (place / "tekken.json").write_bytes(noise.randbytes(2 << 20))
    (place / "params.json").write_bytes(b'{"dim": 3072}')
    (place / "config.json").write_bytes(b"{}")
    return {path.name: sha256(path) for path in place.iterdir()}


def sha256(path: Path) -> str:
    """Hash a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def environment(hub: BulkHub, home: Path) -> dict[str, str]:
    """Nothing of this machine's own account at the hub."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
    quiet = {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_UPDATE_CHECK": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    return {**kept, **quiet, "HF_ENDPOINT": hub.url, "HF_HOME": str(home / "hf"), "NO_PROXY": "*"}


def torment(subject: Subject, hub: BulkHub, home: Path, release: Path, hashes: dict[str, str], kills: int) -> Result:
    """Kill it so many times, let it finish, and count."""
    home.mkdir()
    began = time.monotonic()
    size = sum(path.stat().st_size for path in (hub.root / FIRST).iterdir())
    hub.sent, moments = 0, random.Random(kills)
    # Slow enough that the last kill still lands inside: a start transfers for well under half a second on average.
    hub.rate = size / (kills * 0.5)
    command, variables = subject.command(home, release), environment(hub, home)
    for number in range(kills):
        if not kill_once(command, variables, hub, moments, by_request=number % 2 == 1):
            raise RuntimeError(f"{subject.name} was done after {number} kills: the hub is too fast for this test")
    hub.rate = 0.0
    ended = subprocess.run(command, env=variables, capture_output=True, text=True, check=False, timeout=FINISH)
    place, strays = subject.finished(home), subject.strays(home)
    right = ended.returncode == 0 and all(
        (place / name).is_file() and sha256(place / name) == digest for name, digest in hashes.items()
    )
    if not right:
        print(ended.stderr[-2000:], file=sys.stderr)
    heavy = sum(path.stat().st_size for path in strays)
    return Result(subject.name, size, kills, hub.sent, len(strays), heavy, right, time.monotonic() - began)


def kill_once(
    command: Sequence[str], variables: dict[str, str], hub: BulkHub, moments: random.Random, *, by_request: bool
) -> bool:
    """Start it and kill it; False when it had finished before."""
    before = len(hub.requests)
    with subprocess.Popen(
        command, env=variables, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        while by_request and len(hub.requests) == before and process.poll() is None:
            time.sleep(0.005)
        time.sleep(moments.uniform(0, FROM_REQUEST if by_request else FROM_START))
        process.kill()
        return process.wait() == -9


def table(results: Sequence[Result]) -> str:
    """The results in Markdown."""
    head = "| | size MB | kills | moved MB | moved / size | lost per kill KB | orphans | orphan MB | right |"
    lines = [head, "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"]
    for each in results:
        numbers = f"{each.size / 1e6:.0f} | {each.kills} | {each.sent / 1e6:.0f} | {each.sent / each.size:.2f}"
        rest = f"{each.lost / 1e3:.0f} | {each.orphans} | {each.orphan_bytes / 1e6:.0f}"
        lines.append(f"| {each.name} | {numbers} | {rest} | {'yes' if each.right else 'NO'} |")
    return "\n".join(lines) + "\n"


def compare(kills: int, megabytes: int, subjects: Sequence[Subject]) -> list[Result]:
    """Torment each of them on the same hub with the same moments."""
    with tempfile.TemporaryDirectory(prefix="voxtral-kills-") as folder:
        root = Path(folder)
        hashes = upstream(root / "upstream", megabytes)
        release = write_release(root / "release.json", model_of_files(root / "upstream" / FIRST, hashes))
        with bulk_hub(root / "upstream") as hub:
            return [
                torment(subject, hub, root / f"home-{number}", release, hashes, kills)
                for number, subject in enumerate(subjects)
            ]


def plan(text: str) -> tuple[int, int]:
    """Read ``200x300``: kills, and the model's megabytes."""
    kills, _, megabytes = text.partition("x")
    return int(kills), int(megabytes)


def main() -> int:
    """Compare, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "plans",
        nargs="*",
        type=plan,
        default=[(200, 300), (12, 600)],
        metavar="KILLSxMEGABYTES",
        help="many kills on a slow line, few on a fast one (200x300 12x600)",
    )
    parser.add_argument("--table", type=Path, metavar="FILE", help="write the table there")
    arguments = parser.parse_args()
    results = [result for kills, megabytes in arguments.plans for result in compare(kills, megabytes, (OURS, HUB))]
    print(table(results))
    if arguments.table:
        arguments.table.write_text(table(results), encoding="utf-8")
    return 0 if all(each.right and not each.orphans for each in results if each.name == OURS.name) else 1


if __name__ == "__main__":
    sys.exit(main())
