"""The whole story as an ordinary user lives it, in order: up, use, kill -9, fallback, down."""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import ROOT, Installation
from tests.support.recordings import WORDS, jfk
from voxtral_ops.server.golden import GoldenClip, golden_clips
from voxtral_ops.speech import word_error_rate

pytestmark = pytest.mark.integration


def instance(installation: Installation) -> dict[str, Any]:
    found: dict[str, Any] = installation.up["plan"]["instances"][0]
    return found


def processes(installation: Installation) -> list[int]:
    """Every process of the story's own user; where we are that user, every process out of this installation."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if os.geteuid() == 0:
                mine = entry.stat().st_uid == installation.checkout.stat().st_uid
            else:
                mine = str(installation.home).encode() in (entry / "cmdline").read_bytes()
            if mine and (entry / "stat").read_text().rpartition(")")[2].split()[0] != "Z":
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def open_port(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_up_ends_in_the_right_words(installation: Installation) -> None:
    clips = golden_clips()
    print("phases:", json.dumps(installation.up["phases"]), "in all", installation.up["seconds"], "s")
    assert installation.up["gate"]["ok"]
    assert word_error_rate(clips[0].text, installation.up["words"]) == 0


def test_a_second_up_changes_nothing(installation: Installation) -> None:
    began = time.monotonic()
    again = installation.ask("up")
    print(f"second up: {time.monotonic() - began:.1f} s")
    assert again["changed"] == 0


def test_status_says_that_it_serves(installation: Installation) -> None:
    status = installation.ask("status")
    assert status["services"][0]["state"] == "serving"


def test_the_curl_line_and_the_openai_snippet_work_as_pasted(installation: Installation) -> None:
    for snippet in (installation.up["curl"], installation.up["openai"]):
        result = installation.run("sh", "-c", snippet)
        assert result.returncode == 0, result.stderr
        assert word_error_rate(golden_clips()[0].text, result.stdout.split('"text":"')[-1].split('","')[0]) == 0


def test_each_format_gives_the_right_words(installation: Installation) -> None:
    one_each = {clip.container: clip for clip in golden_clips()}
    assert {"wav", "mp3", "m4a", "flac", "ogg"} <= set(one_each)
    answer = installation.ask(
        "transcribe", "--backend", "voxtral", *(golden_path(installation, clip) for clip in one_each.values())
    )
    for clip, result in zip(one_each.values(), answer["results"], strict=True):
        assert word_error_rate(clip.text, result["transcript"]["text"]) == 0, clip.path
        assert (result["transcript"]["backend"], result["transcript"]["model"]) == ("voxtral", "nano")


def test_a_persons_own_recording_goes_to_whisper_and_says_why(installation: Installation, tmp_path: Path) -> None:
    transcript = installation.ask("transcribe", str(shared(jfk(), installation)))["results"][0]["transcript"]
    assert transcript["backend"] == "whisper"
    assert transcript["fallback_reason"]
    assert word_error_rate(WORDS, transcript["text"]) <= 0.05


def golden_path(installation: Installation, clip: GoldenClip) -> str:
    """The clip in the user's own checkout."""
    return str(installation.checkout / clip.path.relative_to(ROOT))


def shared(recording: Path, installation: Installation) -> Path:
    """A copy that the ordinary user may read."""
    copy = installation.home / recording.name
    copy.write_bytes(recording.read_bytes())
    copy.chmod(0o644)
    return copy


def engine_core(installation: Installation) -> int:
    """vLLM's engine process, as the supervisor knows it."""
    pids = installation.ask("status")["services"][0]["engine_pids"]
    return next(pid for pid in pids if b"EngineCore" in Path(f"/proc/{pid}/cmdline").read_bytes())


def came_back(installation: Installation) -> bool:
    """The server was started anew and serves."""
    result = installation.voxtral("status", "--json")
    service = json.loads(result.stdout)["services"][0]
    return result.returncode == 0 and service["restarts"] >= 1


def test_kill_9_of_the_engine_is_bridged_by_whisper_and_mended_by_the_manager(installation: Installation) -> None:
    os.kill(engine_core(installation), signal.SIGKILL)
    golden = golden_clips()[0]
    answer = installation.ask("transcribe", str(shared(jfk(), installation)))["results"][0]["transcript"]
    assert answer["backend"] == "whisper"
    assert word_error_rate(WORDS, answer["text"]) <= 0.05
    deadline = time.monotonic() + 300
    while not came_back(installation):
        assert time.monotonic() < deadline, installation.voxtral("status").stdout
        time.sleep(1)
    back = installation.ask("transcribe", "--backend", "voxtral", golden_path(installation, golden))["results"][0][
        "transcript"
    ]
    assert word_error_rate(golden.text, back["text"]) == 0


def test_the_port_is_on_loopback_only(installation: Installation) -> None:
    port = instance(installation)["port"]
    listening = subprocess.run(["ss", "-ltnH", f"sport = :{port}"], capture_output=True, text=True, check=True).stdout
    assert [line.split()[3] for line in listening.splitlines()] == [f"127.0.0.1:{port}"]


def test_the_engine_proves_itself(installation: Installation) -> None:
    report = installation.ask("engine", "verify")["engines"][0]
    assert report["ok"]
    assert report["versions"]["vllm"].startswith("0.32.0")


def test_bad_files_are_named_and_the_good_ones_still_answered(installation: Installation, tmp_path: Path) -> None:
    empty, noise = installation.home / "empty.wav", installation.home / "noise.mp3"
    empty.write_bytes(b"")
    noise.write_bytes(b"this is not sound" * 100)
    golden = golden_clips()[0]
    files = [str(empty), str(noise), "/nowhere/at/all.wav", golden_path(installation, golden)]
    answer = installation.ask("transcribe", "--backend", "voxtral", *files, status=1)
    *bad, good = answer["results"]
    assert [result["error"]["category"] for result in bad] == ["audio"] * 3
    for result, name in zip(bad, ("empty.wav", "noise.mp3", "all.wav"), strict=True):
        assert name in result["error"]["message"]
    assert word_error_rate(golden.text, good["transcript"]["text"]) == 0


def test_down_leaves_no_process_and_no_port_and_whisper_still_answers(installation: Installation) -> None:
    port = instance(installation)["port"]
    assert installation.voxtral("down").returncode == 0
    assert not open_port(port)
    assert processes(installation) == []
    assert installation.voxtral("status").returncode == 1
    answer = installation.voxtral("transcribe", str(shared(jfk(), installation)))
    assert answer.returncode == 0
    assert word_error_rate(WORDS, answer.stdout) <= 0.05
    assert "Whisper" in answer.stderr
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5)
