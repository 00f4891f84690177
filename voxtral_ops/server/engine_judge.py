"""Run by an engine's own Python: ``python engine_judge.py < cases.json``; answers with vLLM's own verdicts as JSON.

Each case is a server that was never started: the words after ``vllm``, its environment, and the GPUs it is meant for.
vLLM's command-line parser reads the words (and the file of ``--config``), and its engine configuration is made from
them. For a case with GPUs vLLM believes that it runs on those, so that its rules for CUDA are judged on any machine.
The cache that was planned is measured by vLLM's own rule for one request of full length.
Beyond vLLM's own refusals, whatever it would drop without a word is rejected here.
Standard library and the engine's own packages only: voxtral_ops is not installed there.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

UNJUDGED = {
    "cuda": (
        "whether weights, encoder, CUDA graphs and cache fit the GPU together: only the cache is judged, as planned",
        "which attention backend runs the audio encoder and the language model",
        "what the model asserts while it is built",
        "whether the driver, the kernels and the collectives between GPUs load",
    ),
    "cpu": ("whether weights and cache fit the memory that is free then", "what the model asserts while it is built"),
}
"""What only a start on the hardware itself can tell."""
# A GPU of which nothing is known is one that every rule admits.
DEFAULT_GPU = {"name": "a GPU", "memory": 80 << 30, "capability": [9, 0]}

# Where versions of vLLM keep what they check before the engine is configured: 0.33, 0.32, 0.19.
HOMES = (
    "vllm.entrypoints.common.cli_args",
    "vllm.entrypoints.launchers.cli_args",
    "vllm.entrypoints.launchers.launcher",
    "vllm.entrypoints.openai.cli_args",
    "vllm.entrypoints.openai.api_server",
)
SERVER_CHECKS = ("validate_parsed_serve_args", "validate_api_server_args")


class Rejected(Exception):  # noqa: N818 - a verdict, not a fault of this program
    """A command line that vLLM refuses, or would not obey. ``args``: the stage, and the words."""


def main() -> int:
    """Read the cases, write the verdicts. vLLM's own talk goes to standard error."""
    cases = json.load(sys.stdin)
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="voxtral-judge-") as cache:
        os.environ.update(VLLM_CACHE_ROOT=cache, HF_HUB_OFFLINE="1", VLLM_NO_USAGE_STATS="1", DO_NOT_TRACK="1")
        os.environ["VLLM_LOGGING_LEVEL"] = "WARNING"
        engine = Engine()
        loaded = time.monotonic()
        notes = _Notes()
        verdicts = [engine.judge(case) for case in cases]
    report = {
        "vllm": import_module("vllm").__version__,
        "seconds": {"import": round(loaded - began, 1), "judge": round(time.monotonic() - loaded, 1)},
        "unjudged": UNJUDGED,
        "deprecated": sorted(notes.found),
        "verdicts": verdicts,
    }
    json.dump(report, answer)
    answer.close()
    return 0


class _Notes:
    """Keeps what vLLM says of options that it will drop.

    As the maker of log records, for vLLM takes other people's handlers off when it configures its logging.
    """

    def __init__(self) -> None:
        self.found: set[str] = set()
        self._make = logging.getLogRecordFactory()
        logging.setLogRecordFactory(self)

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record = self._make(*args, **kwargs)
        if "deprecated" in record.getMessage():
            self.found.add(_one_line(record.getMessage()))
        return record


class Engine:
    """vLLM, imported once: its parser, and its belief about the hardware."""

    def __init__(self) -> None:
        self._platform = import_module("vllm.platforms").current_platform
        self._own = type(self._platform)
        self._parser, self._serve = _parser()
        self._usage = import_module("vllm.usage.usage_lib").UsageContext.OPENAI_API_SERVER
        _inspect_models()
        self._cuda = _pretended_gpus()

    def judge(self, case: dict[str, Any]) -> dict[str, Any]:
        """One verdict."""
        verdict: dict[str, Any] = {"name": case["name"], "accepted": True, "stage": "", "words": "", "resolved": {}}
        gpus = case.get("gpus") or []
        try:
            with _environment(case["environment"]), self._believing(gpus):
                verdict["platform"] = self._platform.device_type
                arguments = self._parse(case["argv"])
                config = self._configure(arguments, case["environment"])
                verdict["resolved"] = _resolved(config)
                _cache_suffices(config, case.get("cache"))
        except Rejected as rejected:
            verdict.update(accepted=False, stage=rejected.args[0], words=rejected.args[1])
        return verdict

    @contextlib.contextmanager
    def _believing(self, gpus: list[dict[str, Any] | None]) -> Iterator[None]:
        """Make the one platform object, which all of vLLM's modules hold, that of these GPUs."""
        if not gpus:
            yield
            return
        self._cuda.gpus = [gpu or DEFAULT_GPU for gpu in gpus]
        self._platform.__class__ = self._cuda
        try:
            yield
        finally:
            self._platform.__class__ = self._own

    def _parse(self, argv: list[str]) -> Any:
        talk = io.StringIO()
        try:
            with contextlib.redirect_stderr(talk):
                arguments = self._parser.parse_args(list(argv))
        except SystemExit as error:
            _, _, words = talk.getvalue().rpartition("error: ")
            raise Rejected("parser", _one_line(words) or f"exit {error.code}") from error
        except Exception as error:  # the parser's types raise what they like
            raise Rejected("parser", _words(error)) from error
        self._obeyed(argv, arguments)
        return arguments

    def _obeyed(self, argv: list[str], arguments: Any) -> None:
        """Reject what vLLM reads past."""
        for word in argv:
            if word.startswith("--config="):
                raise Rejected("silent", f"vLLM silently ignores {word}: the file is a word of its own")
        if arguments.model_tag != argv[1]:
            raise Rejected("silent", f"vLLM would serve {arguments.model_tag!r}, not {argv[1]!r}")
        if "--config" not in argv:
            return
        path = argv[argv.index("--config") + 1]
        taken = {word[2:] for word in self._parser.load_config_file(path) if word.startswith("--")}
        for key in import_module("yaml").safe_load(Path(path).read_text(encoding="utf-8")):
            if not {key, f"no-{key}"} & taken:
                raise Rejected("silent", f"vLLM silently drops {key}: write no-{key}: true to turn it off")
            if f"--{key}".replace("_", "-").partition(".")[0] not in self._serve._option_string_actions:
                raise Rejected("silent", f"vLLM takes {key} for the abbreviation of another option")

    def _configure(self, arguments: Any, variables: dict[str, str]) -> Any:
        """What ``vllm serve`` does before it starts a process for the engine."""
        utils = import_module("vllm.engine.arg_utils")
        arguments.model = arguments.model_tag
        try:
            for check in SERVER_CHECKS:
                _find(check)(arguments)
        except Exception as error:
            raise Rejected("server", _words(error)) from error
        try:
            (getattr(self._platform, "validate_environ", None) or utils.envs.validate_environ)(True)
            for name in filter(utils.envs.environment_variables.__contains__, variables):
                getattr(utils.envs, name)
            engine = utils.AsyncEngineArgs.from_cli_args(arguments)
            config = engine.create_engine_config(usage_context=self._usage)
            if isinstance(self._platform, self._cuda):
                # The first thing that the worker of a GPU does.
                self._platform.check_if_supports_dtype(config.model_config.dtype)
            import_module("vllm.model_executor.model_loader").get_model_loader(config.load_config)
            import_module("vllm.tokenizers.registry").cached_tokenizer_from_config(config.model_config)
        except Exception as error:
            raise Rejected("engine", _words(error)) from error
        return config


def _resolved(config: Any) -> dict[str, Any]:
    model, scheduler = config.model_config, config.scheduler_config
    return {
        "max_model_len": model.max_model_len,
        "dtype": str(model.dtype).removeprefix("torch."),
        "quantization": model.quantization,
        "tensor_parallel_size": config.parallel_config.tensor_parallel_size,
        "max_num_batched_tokens": scheduler.max_num_batched_tokens,
        "max_num_seqs": scheduler.max_num_seqs,
    }


def _cache_suffices(config: Any, planned: int | None) -> None:
    """Reject a plan whose cache does not hold one request of full length, by vLLM's own sums."""
    planned = config.cache_config.kv_cache_memory_bytes or planned
    if planned is None:
        return
    sums: Any = import_module("vllm.v1.core.kv_cache_utils")
    if hasattr(config.cache_config, "kv_cache_layout"):
        # A running engine asks its kernels for it; every one of these takes as many bytes.
        config.cache_config.kv_cache_layout = "LBNHC"
    try:
        sums.get_kv_cache_configs(config, [cache_layers(config)], [planned])
    except ValueError as error:
        raise Rejected("memory", _words(error)) from error


def cache_layers(config: Any) -> dict[str, Any]:
    """Every layer of the model that keeps a cache, as vLLM's own description of it."""
    kinds = import_module("vllm.v1.kv_cache_interface")
    model, parallel = config.model_config, config.parallel_config
    types = import_module("vllm.utils.torch_utils")
    block = config.cache_config.block_size or 16
    dtype = types.kv_cache_dtype_str_to_dtype(config.cache_config.cache_dtype, model)
    language = {
        "block_size": block,
        "num_kv_heads": model.get_num_kv_heads(parallel),
        "head_size": model.get_head_size(),
        "dtype": dtype,
    }
    window = model.get_sliding_window()
    layer = (
        kinds.SlidingWindowSpec(**language, sliding_window=window) if window else kinds.FullAttentionSpec(**language)
    )
    layers = {f"language.{index}": layer for index in range(model.get_num_layers(parallel))}
    audio = model.hf_config.audio_config
    if audio.is_causal:
        heads = audio.encoder_attention_heads // parallel.tensor_parallel_size
        shared = {"block_size": block, "head_size": audio.encoder_head_dim, "dtype": dtype}
        encoder = kinds.SlidingWindowSpec(**shared, **_pooled(kinds, heads, audio))
        layers |= {f"encoder.{index}": encoder for index in range(audio.encoder_layers)}
    return layers


def _parser() -> tuple[Any, Any]:
    """The parser of ``vllm serve`` in the shape that vLLM's own main gives it, and the subcommand's part of it."""
    parser = import_module("vllm.utils.argparse_utils").FlexibleArgumentParser(prog="vllm")
    commands = parser.add_subparsers(required=False, dest="subparser")
    serve = import_module("vllm.entrypoints.cli.serve").ServeSubcommand().subparser_init(commands)
    return parser, serve


def _pooled(kinds: Any, heads: int, audio: Any) -> dict[str, Any]:
    """Realtime's encoder keeps a cache too, several of its frames in the place of one token."""
    frames, window = audio.block_pool_size, audio.sliding_window
    if "tokens_per_state" not in dir(kinds.AttentionSpec):
        return {"num_kv_heads": heads * frames, "sliding_window": window}  # vLLM 0.19: a window of as many tokens
    return {
        "num_kv_heads": heads,
        "sliding_window": -(-window // frames) + 1,
        "tokens_per_state": Fraction(1, frames),
    }


def _find(name: str) -> Any:
    """A function of vLLM that moved between its versions."""
    for home in HOMES:
        try:
            module = import_module(home)
        except ModuleNotFoundError:
            continue
        if hasattr(module, name):
            return getattr(module, name)
    raise AttributeError(f"this vLLM has no {name}")


def _inspect_models() -> None:
    """Look at the models' classes now, on the engine's own platform: their modules import kernels for what runs.

    vLLM would do so in a process of its own, which imports vLLM again.
    """
    registry: Any = import_module("vllm.model_executor.models.registry")
    registry._run_in_subprocess = lambda function: function()
    for name, model in registry.ModelRegistry.models.items():
        if name.startswith("Voxtral"):
            registry._try_inspect_model_cls(name, model)


def _stand_in_for_kernels() -> None:
    """The CPU package has no CUDA kernels, or cannot load them; what is judged here calls none."""
    for name in ("vllm._C", "vllm._C_stable_libtorch"):
        try:
            import_module(name)
        except ImportError:
            sys.modules[name] = ModuleType(name)


def _pretended_gpus() -> Any:
    """Make vLLM's CUDA platform, with the answers of the driver replaced by those of ``gpus``."""
    _stand_in_for_kernels()
    cuda = import_module("vllm.platforms.cuda")
    kernels: Any = import_module("vllm._custom_ops")
    # Compiled for CUDA 12.4 or newer, the kernels multiply fp8 from compute capability 8.9 on.
    kernels.cutlass_scaled_mm_supports_fp8 = lambda capability: capability >= 89
    capability = import_module("vllm.platforms.interface").DeviceCapability

    class Pretended(cuda.CudaPlatformBase):  # type: ignore[misc, name-defined]
        gpus: list[dict[str, Any]] = []  # noqa: RUF012 - the platform's methods are class methods

        @classmethod
        def device_count(cls) -> int:
            return len(cls.gpus)

        @classmethod
        def device_control_id_to_physical_device_id(cls, device_id: str) -> int:
            visible = os.environ.get(cls.device_control_env_var, "").split(",")
            return visible.index(device_id)

        @classmethod
        def get_device_capability(cls, device_id: int = 0) -> Any:
            return capability(*cls.gpus[device_id]["capability"])

        @classmethod
        def get_device_name(cls, device_id: int = 0) -> str:
            return str(cls.gpus[device_id]["name"])

        @classmethod
        def get_device_total_memory(cls, device_id: int = 0) -> int:
            return int(cls.gpus[device_id]["memory"])

        @classmethod
        def is_fully_connected(cls, device_ids: list[int]) -> bool:
            return True

        @classmethod
        def get_cuda_runtime_major(cls) -> int:
            return 13

        @classmethod
        def is_integrated_gpu(cls, device_id: int = 0) -> bool:
            return False

        @classmethod
        def num_compute_units(cls, device_id: int = 0) -> int:
            return 100

    # vLLM 0.19 counts the devices by itself.
    parallel: Any = import_module("vllm.config.parallel")
    parallel.cuda_device_count_stateless = Pretended.device_count
    return Pretended


@contextlib.contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """The variables of one server, and none of another's."""
    kept = dict(os.environ)
    os.environ.update({key: value for key, value in variables.items() if key not in {"HOME", "PATH"}})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(kept)


def _words(error: BaseException) -> str:
    """What vLLM says, without the frame that pydantic draws around it."""
    lines = str(error).splitlines()
    if type(error).__name__ == "ValidationError":
        lines = [line.partition(" [type=")[0] for line in lines[1:] if "For further information" not in line]
    return _one_line(" ".join(lines)) or type(error).__name__


def _one_line(text: str) -> str:
    return " ".join(text.split())[:600]


if __name__ == "__main__":
    sys.exit(main())
