"""The gate: it passes on right words only, and posts the files as they are."""

from __future__ import annotations

import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from voxtral_ops.errors import ConfigurationError, NetworkError, ReleaseError, ServerError
from voxtral_ops.server.gate import run_gate
from voxtral_ops.server.golden import GoldenClip, gate_clips, golden_clips
from voxtral_ops.server.upload import FileUpload


class Voice:
    """Hears what it is told to."""

    def __init__(self, *texts: str | Exception) -> None:
        self.texts = list(texts)
        self.heard: list[tuple[str, bytes]] = []

    def transcribe_file(self, name: str, data: bytes) -> str:
        self.heard.append((name, data))
        text = self.texts.pop(0)
        if isinstance(text, Exception):
            raise text
        return text


def clip(folder: Path, file: str, text: str) -> GoldenClip:
    data = file.encode() * 10
    (folder / file).write_bytes(data)
    return GoldenClip(
        file=file,
        text=text,
        seconds=2.0,
        container=file.rpartition(".")[2],
        sha256=hashlib.sha256(data).hexdigest(),
        path=folder / file,
    )


@pytest.fixture
def clips(tmp_path: Path) -> tuple[GoldenClip, ...]:
    return clip(tmp_path, "a.flac", "Turn on the kitchen lights."), clip(tmp_path, "b.mp3", "Call John.")


def test_right_words_pass(clips: tuple[GoldenClip, ...]) -> None:
    voice = Voice("turn on the kitchen lights", " Call John. ")
    report = run_gate("http://x", "nano", clips, voice)
    assert report.ok
    assert (report.wer, report.audio_seconds, report.containers) == (0.0, 4.0, ("flac", "mp3"))
    assert voice.heard == [("a.flac", b"a.flac" * 10), ("b.mp3", b"b.mp3" * 10)]
    assert report.summary.startswith("passed: 2 of 2")


@pytest.mark.parametrize(
    ("second", "problem"),
    [
        ("", "without a word"),
        ("  \n", "without a word"),
        ("Call Mary.", "wrong words"),
        (ServerError("the server cannot decode b.mp3"), "cannot decode"),
        (NetworkError("nobody"), "nobody"),
    ],
)
def test_one_bad_clip_fails(clips: tuple[GoldenClip, ...], second: str | Exception, problem: str) -> None:
    report = run_gate("http://x", "nano", clips, Voice(clips[0].text, second))
    assert not report.ok
    assert [verdict.ok for verdict in report.clips] == [True, False]
    assert problem in report.clips[1].problem


def test_small_errors_everywhere_fail_together(tmp_path: Path) -> None:
    # One word of four wrong passes for a clip, not for all of them.
    clips = tuple(clip(tmp_path, f"{n}.wav", "one two three four") for n in range(3))
    report = run_gate("http://x", "nano", clips, Voice(*["one two three for"] * 3))
    assert all(verdict.ok for verdict in report.clips)
    assert not report.ok


def test_no_clips_no_verdict() -> None:
    with pytest.raises(ConfigurationError):
        run_gate("http://x", "nano", (), Voice())


def test_a_clip_that_is_not_itself_is_refused(clips: tuple[GoldenClip, ...]) -> None:
    clips[0].path.write_bytes(b"something else")
    with pytest.raises(ReleaseError, match="sha256"):
        run_gate("http://x", "nano", clips, Voice("x", "y"))


def test_shipped_clips_are_whole_and_cover_every_container() -> None:
    shipped = golden_clips()
    for one in shipped:
        one.read()
    assert {one.container for one in gate_clips(shipped)} == {"wav", "mp3", "m4a", "flac", "ogg"}


@pytest.mark.parametrize("text", ["", "[[clip]]\nfile = 'a.wav'\n", "not toml ]"])
def test_a_broken_list_of_clips_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "golden.toml").write_text(text)
    with pytest.raises(ReleaseError, match=r"golden\.toml"):
        golden_clips(tmp_path)


class Server:
    """Answers every POST with the same; keeps what was posted."""

    status, body = 200, b'{"text": "Call John."}'
    posted = b""


@pytest.fixture
def server() -> Iterator[tuple[Server, str]]:
    answer = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            answer.posted = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(answer.status)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True).start()
        yield answer, f"http://127.0.0.1:{listening.server_address[1]}"
        listening.shutdown()


def test_the_file_itself_is_posted(server: tuple[Server, str]) -> None:
    answer, url = server
    assert FileUpload(url, "nano").transcribe_file("a.m4a", b"\x00\r\n--bytes\xff") == "Call John."
    assert b'filename="a.m4a"' in answer.posted
    assert b"\x00\r\n--bytes\xff" in answer.posted
    assert b'name="model"\r\n\r\nnano' in answer.posted


@pytest.mark.parametrize(
    ("status", "body", "problem"),
    [
        (400, {"error": {"message": "Invalid or unsupported audio file."}}, "cannot decode a.m4a"),
        (500, {"error": {"message": "EngineDeadError"}}, "HTTP 500"),
        (200, {"error": "x"}, "without a text"),
    ],
)
def test_refusals_are_named(server: tuple[Server, str], status: int, body: object, problem: str) -> None:
    answer, url = server
    answer.status, answer.body = status, json.dumps(body).encode()
    with pytest.raises(ServerError, match=problem):
        FileUpload(url, "nano").transcribe_file("a.m4a", b"x")


def test_nobody_there() -> None:
    with pytest.raises(NetworkError):
        FileUpload("http://127.0.0.1:1", "nano", timeout=2).transcribe_file("a.wav", b"x")
