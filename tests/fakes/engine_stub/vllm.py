"""Behaves like ``vllm serve`` in what a supervisor can see: processes, log lines, /health, signals, ends.

STUB in the environment says what goes wrong: ``die:TEXT`` (say it and end while starting), ``never`` (never
ready), ``stubborn`` (ignore SIGTERM, children too), ``lingers`` (take a minute to tear down after the
drain), ``sick`` (say 503 for ever once the engine is dead).
"""

from __future__ import annotations

import http.server
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path


def main() -> int:
    """The API server; with ``child`` as its argument, an engine process."""
    mode = os.environ.get("STUB", "")
    if sys.argv[1] == "child":
        return engine(mode)
    if mode == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=stop).start())
    options = read_options(Path(sys.argv[sys.argv.index("--config") + 1]))
    say("(APIServer) INFO [api_utils.py:286] non-default args: {}")
    if mode.startswith("die:"):
        say("Traceback (most recent call last):")
        say(mode.removeprefix("die:").replace("_", " "))
        say("nanobind: leaked 64 types!")
        return 1
    core = subprocess.Popen([sys.executable, __file__, "child", "core"], stdout=subprocess.PIPE)
    core.stdout.readline()  # its worker has been started
    say("(EngineCore) INFO [core.py:133] Initializing a V1 LLM engine (v0.32.0) with config: …")
    if mode == "never":
        stopping.wait()
        core.kill()
        return 1
    say("(Worker) INFO [cpu_model_runner.py:68] Starting to load model …")
    say("(Worker) INFO [default_loader.py:501] Loading weights took 0.06 seconds")
    server = http.server.ThreadingHTTPServer((options["host"], int(options["port"])), handler(core))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    say("INFO:     Application startup complete.")
    while core.poll() is None and not stopping.is_set():
        time.sleep(0.02)
    if stopping.is_set():
        say("(EngineCore) INFO [core.py:1666] [shutdown] EngineCore: request processing complete; starting …")
        time.sleep(60 if mode == "lingers" else 0)
        core.kill()
        core.wait()
        return 0
    say("(APIServer) ERROR EngineCore encountered a fatal error: vllm.v1.engine.exceptions.EngineDeadError")
    while mode == "sick":
        time.sleep(0.1)
    time.sleep(0.2)
    return 0


def engine(mode: str) -> int:
    """As the real ones: a worker ends with its core, a core does not notice when its parent is killed."""
    if mode == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if sys.argv[2] == "core":
        subprocess.Popen([sys.executable, __file__, "child", "worker"])
        say("up")
    parent = os.getppid()
    while sys.argv[2] == "core" or mode == "stubborn" or os.getppid() == parent:
        time.sleep(0.05)
    return 0


def handler(core: subprocess.Popen[bytes]) -> type[http.server.BaseHTTPRequestHandler]:
    """Answers 200 while the engine lives, 503 when it is dead."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if core.poll() is None else 503)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def read_options(path: Path) -> dict[str, str]:
    """``key: value`` lines."""
    return dict(line.split(": ", 1) for line in path.read_text().splitlines() if line)


def say(line: str) -> None:
    """One line of log."""
    print(line, flush=True)


stopping = threading.Event()


def stop() -> None:
    """A drain takes a moment."""
    time.sleep(0.1)
    stopping.set()


if __name__ == "__main__":
    sys.exit(main())
