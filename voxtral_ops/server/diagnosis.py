"""What vLLM's own last words mean, and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Symptom:
    """A line of vLLM, torch or the kernel, what it means and what cures it. ``{0}`` is its first group."""

    pattern: re.Pattern[str]
    cause: str
    hint: str


def _symptom(pattern: str, cause: str, hint: str) -> Symptom:
    return Symptom(re.compile(pattern, re.IGNORECASE), cause, hint)


# The first that matches wins: the specific before the general, roots before consequences.
SYMPTOMS = (
    _symptom(
        r"address already in use",
        "the port is in use by another process",
        "`ss -ltnp` shows by whom; stop it, or give the instance another port",
    ),
    _symptom(
        r"libnuma\.so\.1: cannot open",
        "the library libnuma is missing; the CPU engine cannot load without it",
        "apt-get install libnuma1 (Debian, Ubuntu) or dnf install numactl-libs (Rocky, RHEL)",
    ),
    _symptom(
        r"No space left on device.*(/dev/shm|psm_|shm)|shm_broadcast.*No space left|Bus error|SIGBUS",
        "shared memory (/dev/shm) is too small; the engine's processes talk through it and need 160 MiB",
        "run the container with --shm-size=1g, or mount -o remount,size=1g /dev/shm",
    ),
    _symptom(
        r"model's max seq len \((\d+)\).*estimated maximum model length is (\d+)",
        "not enough memory for one request of {0} tokens; {1} tokens would fit",
        "set max-model-len to {1} or less, or serve a smaller model",
    ),
    _symptom(
        r"To serve at least one request with|No available memory for the cache blocks",
        "not enough memory is left for the KV cache",
        "lower max-model-len, raise gpu-memory-utilization, or serve a smaller model",
    ),
    _symptom(
        r"Free memory on device.*is less than desired GPU memory utilization",
        "other processes use the GPU's memory",
        "`nvidia-smi` shows which; end them, or lower gpu-memory-utilization",
    ),
    _symptom(
        r"CUDA out of memory|OutOfMemoryError",
        "the GPU ran out of memory",
        "lower max-model-len or max-num-seqs, or serve a smaller model",
    ),
    _symptom(
        r"Cannot allocate memory|MemoryError|DefaultCPUAllocator: can't allocate",
        "this machine ran out of memory",
        "free some: the CPU engine needs about 2 GB besides the model's weights",
    ),
    _symptom(
        r"Illegal instruction|SIGILL|requires AVX|AVX-?(2|512) (is )?(required|not supported)",
        "this processor lacks instructions that the engine was built for",
        "`voxtral-ops hardware` shows what it has; the CPU engine needs at least AVX2",
    ),
    _symptom(
        r"CUDA driver version is insufficient|driver on your system is too old|forward compatibility was",
        "the NVIDIA driver is older than the engine's CUDA needs",
        "CUDA 13 needs driver 580 or newer: upgrade the driver, or use the engine built for CUDA 12",
    ),
    _symptom(
        r"no kernel image is available for execution|compute capability .* is not supported",
        "the engine has no code for this GPU: it is too old",
        "GPUs before compute capability 7.5 are not served",
    ),
    _symptom(
        r"Bfloat16 is only supported on GPUs with compute capability",
        "this GPU cannot compute in bfloat16",
        "set dtype: half",
    ),
    _symptom(
        r"Failed to infer device type|libcuda\.so\.1: cannot open|No CUDA GPUs are available|NVML.*not found",
        "the engine sees no GPU that it was built for",
        "`nvidia-smi` should list it; in a container, pass the GPU through; else use the CPU engine",
    ),
    _symptom(
        r"lib(cudart|cublas|cudnn|nccl)[\w.-]*: cannot open shared object",
        "a CUDA library of the engine is missing: {0}",
        "the engine's installation is damaged: `voxtral-ops engine verify`, then `voxtral-ops up` again",
    ),
    _symptom(
        r"Failed to find C compiler|gcc: (command )?not found|No such file or directory: '(gcc|cc)'",
        "there is no C compiler; the engine compiles kernels for this GPU when it starts",
        "apt-get install gcc (Debian, Ubuntu) or dnf install gcc (Rocky, RHEL)",
    ),
    _symptom(
        r"Python\.h: No such file",
        "Python's headers are missing; the engine compiles kernels when it starts",
        "apt-get install python3-dev (Debian, Ubuntu) or dnf install python3-devel (Rocky, RHEL)",
    ),
    _symptom(
        r"Please install vllm\[audio\]|No module named '(soundfile|soxr|av|scipy)'|failed to be inspected",
        "the engine's audio libraries are missing",
        "`voxtral-ops engine verify` names them; `voxtral-ops up` installs the engine anew",
    ),
    _symptom(
        r"unrecognized arguments: (.+)",
        "this vLLM does not know an option of server.yaml: {0}",
        "the options belong to another version of the engine: run `voxtral-ops up` again",
    ),
    _symptom(
        r"error: argument (.+)",
        "vLLM refuses an option of server.yaml: {0}",
        "correct the value in the inventory and run `voxtral-ops up` again",
    ),
    _symptom(
        r"pydantic_core\._pydantic_core\.ValidationError: \d+ validation errors? for (\w+)",
        "vLLM refuses its configuration ({0})",
        "the lines above say which value",
    ),
    _symptom(
        r"requires `?--tokenizer-mode mistral",
        "the tokenizer mode is not mistral",
        "set tokenizer-mode, config-format and load-format to mistral",
    ),
    _symptom(
        r"Found unknown quantization",
        "the engine does not know this checkpoint's quantisation",
        "serve the original checkpoint and set quantization: fp8",
    ),
    _symptom(
        r"SafetensorError|HeaderTooLarge|MetadataIncompleteBuffer|invalid load key",
        "the model's weights are damaged",
        "`voxtral-ops weights verify` says which file; `voxtral-ops up` fetches it again",
    ),
    _symptom(
        r"Cannot find any model weights|does not appear to have a file named|not a valid model identifier",
        "the model's files are not where they should be",
        "`voxtral-ops weights verify`, then `voxtral-ops up` again",
    ),
    _symptom(
        r"version `(GLIBC_[\d.]+|GLIBCXX_[\d.]+)' not found",
        "this system's C library is too old for the engine: it asks for {0}",
        "use a supported system: Debian 12 or newer, Ubuntu 22.04 or newer, Rocky or RHEL 9",
    ),
    _symptom(
        r"No module named '([\w.]+)'",
        "the engine's installation is incomplete: {0} is missing",
        "`voxtral-ops up` installs it anew",
    ),
    _symptom(
        r"No space left on device",
        "a disk is full",
        "`df -h` shows which; the engine writes to its cache and to /tmp",
    ),
    _symptom(
        r"Too many open files",
        "the limit of open files is too low",
        "raise it: ulimit -n 65535, or LimitNOFILE",
    ),
    _symptom(
        r"PermissionError: \[Errno 13\] Permission denied: '([^']+)'",
        "the server may not read or write {0}",
        "the files must be readable by the user that runs the server",
    ),
    _symptom(
        r"NCCL error|ncclUnhandledCudaError|ncclSystemError",
        "the GPUs cannot talk to each other (NCCL)",
        "check /dev/shm (1 GiB for several GPUs) and that all GPUs are healthy; NCCL_DEBUG=INFO says more",
    ),
    _symptom(
        r"\[supervisor\] .*killed by SIGKILL",
        "it was killed from outside, most often by the kernel for lack of memory",
        "`dmesg | grep -i oom` and `journalctl -k` tell; give the machine or the container more memory",
    ),
    _symptom(
        r"\[supervisor\] .*killed by (SIGSEGV|SIGABRT)",
        "the engine crashed ({0})",
        "if it happens again, report it with the log",
    ),
    _symptom(
        r"EngineDeadError|Engine core proc \w+ died|EngineCore encountered a fatal|engine core process.*died",
        "the engine process died",
        "the lines before it say why; killed without a word, it was most often lack of memory",
    ),
    _symptom(
        r"\[supervisor\] not ready after (\d+) s",
        "the server was not ready after {0} s",
        "large models on slow disks need longer; the log shows what it was doing",
    ),
    _symptom(
        r"\[supervisor\] no answer for (\d+) s",
        "the server stopped answering for {0} s",
        "if it happens again, report it with the log",
    ),
)

# Warnings speak of errors that might come; nothing has died of them.
_CHATTER = re.compile(r"\b(DEBUG|INFO|WARNING) \d\d-\d\d \d\d:")
_NOISE = re.compile(
    r"nanobind|leaked (instance|type|function|semaphore|shared_memory)|skipped remainder"
    r"|launcher\.py:\d+\] Route:"
    r"|resource_tracker|warnings\.warn|FutureWarning|UserWarning|api_utils\.py:\d+\]\s*[█▄▀ ]|^\s*$"
    r"|api_utils\.py:\d+\]\s*$"
)


def explain(lines: Sequence[str]) -> tuple[str, str]:
    """The likely cause and the cure; two empty strings when these words are not known."""
    serious = [line for line in lines if not _CHATTER.search(line)]
    for symptom in SYMPTOMS:
        for line in serious:
            found = symptom.pattern.search(line)
            if found:
                groups = [group or "" for group in found.groups()]
                return symptom.cause.format(*groups), symptom.hint.format(*groups)
    return "", ""


def last_words(lines: Sequence[str], count: int = 12) -> tuple[str, ...]:
    """The last lines that say something."""
    return tuple(line for line in lines if not _NOISE.search(line))[-count:]
