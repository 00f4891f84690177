"""A real mirror, olah, between fetch and hub: it works, goes on after a kill, and spares the hub the next host."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from tests.faults.bulk import bulk_hub
from tests.faults.kills import OURS, environment, sha256, upstream
from tests.faults.mirror import install, mirror
from tests.faults.small import BIG, FIRST, model_of_files, write_release

MEGABYTES = 24


def test_through_a_real_mirror(tmp_path: Path) -> None:
    program = install(tmp_path / "venv")
    hashes = upstream(tmp_path / "upstream", MEGABYTES)
    release = write_release(tmp_path / "release.json", model_of_files(tmp_path / "upstream" / FIRST, hashes))
    with bulk_hub(tmp_path / "upstream") as hub, mirror(program, hub.url, tmp_path / "olah") as url:
        homes = [tmp_path / "first", tmp_path / "second"]
        for home in homes:
            home.mkdir()
        variables = {**environment(hub, homes[0]), "HF_ENDPOINT": url}
        command = OURS.command(homes[0], release)

        hub.rate = 5e6
        with subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            while not any(BIG in line for line in hub.requests) and process.poll() is None:
                time.sleep(0.01)
            time.sleep(1)
            process.kill()
        assert process.returncode == -9

        hub.rate = 0.0
        sent = []
        for home in homes:
            subprocess.run(OURS.command(home, release), env=variables, check=True, capture_output=True, timeout=120)
            place = OURS.finished(home)
            assert {name: sha256(place / name) for name in hashes} == hashes
            assert OURS.strays(home) == []
            sent.append(hub.sent)
        # Whatever the mirror asked for again after the kill: the second host costs the hub no copy.
        assert sent[1] - sent[0] < 0.1 * sum(path.stat().st_size for path in (hub.root / FIRST).iterdir())
