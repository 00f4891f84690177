"""vLLM's last words, as it really writes them, and what they are taken for."""

from __future__ import annotations

import pytest

from voxtral_ops.server.diagnosis import SYMPTOMS, explain, last_words

WORDS = [
    ("OSError: [Errno 98] Address already in use", "port is in use", "ss -ltnp"),
    ("ImportError: libnuma.so.1: cannot open shared object file: No such file or directory", "libnuma", "libnuma1"),
    ("OSError: [Errno 28] No space left on device: '/psm_cdeded56'", "shared memory", "--shm-size"),
    ("[supervisor] vLLM was killed by SIGBUS", "shared memory", "/dev/shm"),
    (
        "ValueError: To serve at least one request with the model's max seq len (32768), (3.75 GiB KV cache is "
        "needed, which is larger than the available KV cache memory (1.62 GiB). Based on the available memory, "
        "the estimated maximum model length is 14160. Try increasing `gpu_memory_utilization`",
        "one request of 32768 tokens; 14160 tokens would fit",
        "max-model-len to 14160",
    ),
    ("ValueError: No available memory for the cache blocks.", "KV cache", "max-model-len"),
    (
        "ValueError: Free memory on device cuda:0 (3.1/23.6 GiB) is less than desired GPU memory utilization",
        "other processes",
        "nvidia-smi",
    ),
    ("[supervisor] vLLM was killed by SIGILL", "processor", "AVX2"),
    ("[supervisor] vLLM was killed by SIGKILL", "lack of memory", "dmesg"),
    ("ImportError: Please install vllm[audio] for audio support", "audio libraries", "engine verify"),
    ("vllm: error: unrecognized arguments: --no-such-key", "--no-such-key", "voxtral-ops up"),
    ("RuntimeError: Failed to find C compiler. Please specify via CC environment variable.", "C compiler", "gcc"),
    ("/tmp/x/main.c:5:10: fatal error: Python.h: No such file or directory", "headers", "python3-dev"),
    ("RuntimeError: The NVIDIA driver on your system is too old (found version 12040).", "driver", "580"),
    ("SafetensorError: Error while deserializing header", "damaged", "weights verify"),
    ("ModuleNotFoundError: No module named 'mistral_common'", "mistral_common", "up"),
    ("OSError: [Errno 28] No space left on device: '/var/cache/voxtral/x'", "disk is full", "df -h"),
    ("ERROR [core_client.py:600] Engine core proc EngineCore died unexpectedly", "engine process", "lines before"),
    ("[supervisor] not ready after 1800 s", "not ready after 1800 s", "log"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "cause", "hint"), WORDS)
def test_words_are_understood(line: str, cause: str, hint: str) -> None:
    lines = ["INFO starting", line, "nanobind: leaked 64 types!"]
    found = explain(lines)
    assert cause in found[0]
    assert hint in found[1] or hint in found[0]


def test_the_root_wins_over_its_consequence() -> None:
    lines = [
        "ImportError: libnuma.so.1: cannot open shared object file",
        "RuntimeError: Engine core proc EngineCore died",
    ]
    assert "libnuma" in explain(lines)[0]
    assert "libnuma" in explain(lines[::-1])[0]


def test_unknown_words_are_not_guessed_at() -> None:
    assert explain(["something quite new", ""]) == ("", "")


def test_warnings_of_what_might_come_are_not_causes() -> None:
    warning = (
        "(APIServer pid=1) WARNING 11-22 18:14:01 [system_utils.py:255] Found ulimit of 20000 and failed to "
        "automatically increase. This can cause fd limit errors like `OSError: [Errno 24] Too many open files`"
    )
    assert explain([warning]) == ("", "")
    assert "open files" in explain(["OSError: [Errno 24] Too many open files"])[0]


def test_placeholders_are_filled_by_groups() -> None:
    for symptom in SYMPTOMS:
        filled = symptom.pattern.groups
        (symptom.cause + symptom.hint).format(*["x"] * filled)


def test_last_words_leave_the_noise_out() -> None:
    lines = [
        "ERROR it broke",
        "(APIServer pid=1) INFO 11-22 18:14:50 [launcher.py:195] Route: /v1/messages, Methods: POST",
        ' - leaked type "triton._C.libtriton.ir.location"',
        "nanobind: leaked 514 functions!",
        "",
    ]
    assert last_words(lines) == ("ERROR it broke",)
    assert last_words([str(number) for number in range(50)], 3) == ("47", "48", "49")
