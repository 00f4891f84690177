"""What an operator may fix in a plan, and what may not be fixed there."""

from __future__ import annotations

import re

from pydantic import BaseModel, ConfigDict, Field

from voxtral_ops.errors import ConfigurationError
from voxtral_ops.planning.memory import Wishes
from voxtral_ops.planning.plan import Setting

FORBIDDEN = {
    "api-key": "a plan is readable by everybody on the host: give keys to the server through its credentials",
    "config": "the plan is the configuration",
    "model": "use the plan's own `model`",
    "host": "the server listens on this machine only; the edge is the door for others",
    "port": "use the plan's own `port`",
    "served-model-name": "clients know the model by its repository's name",
    "trust-remote-code": "it runs code that came with the weights",
    "allowed-local-media-path": "it lets every client read the server's files",
    "enable-scale-out": "it opens routes that no key guards",
}
SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSWORD", re.IGNORECASE)


class PlanOverrides(BaseModel):
    """The operator's wishes; everything that is left out is planned."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str | None = None
    port: int | None = Field(default=None, ge=1, le=65535)
    arguments: dict[str, Setting] = {}
    """vLLM's long options without dashes."""
    environment: dict[str, str] = {}


def check_overrides(overrides: PlanOverrides) -> Wishes:
    """Refuse what cannot be meant and return the wishes that change the arithmetic."""
    for name, value in overrides.arguments.items():
        _check_argument(name, value)
    for name, text in overrides.environment.items():
        _check_variable(name, text)
    quantization = overrides.arguments.get("quantization")
    return Wishes(
        context=_whole(overrides, "max-model-len"),
        utilisation=_share(overrides, "gpu-memory-utilization"),
        precision="fp8" if quantization == "fp8" else None,
        tensor_parallel=_whole(overrides, "tensor-parallel-size"),
        batch=_whole(overrides, "max-num-batched-tokens"),
    )


def _check_argument(name: str, value: Setting) -> None:
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        raise ConfigurationError(
            f"{name!r} is not the name of an option",
            hint="write vLLM's long option without its dashes: max-model-len",
        )
    if name in FORBIDDEN:
        raise ConfigurationError(f"a plan may not set {name}", hint=FORBIDDEN[name], argument=name)
    if value is False:
        opposite = name.removeprefix("no-") if name.startswith("no-") else f"no-{name}"
        raise ConfigurationError(f"vLLM drops {name}: false silently", hint=f"write {opposite}: true", argument=name)


def _check_variable(name: str, value: str) -> None:
    if not re.fullmatch(r"[A-Z_][A-Z0-9_]*", name):
        raise ConfigurationError(f"{name!r} is not the name of an environment variable", hint="like VLLM_CACHE_ROOT")
    if SECRET.search(name):
        raise ConfigurationError(
            f"{name} looks like a secret, and a plan is readable by everybody on the host",
            hint="give secrets to the server through its credentials",
            variable=name,
        )
    if not value or re.search(r"[\s\"'\\]", value):
        raise ConfigurationError(
            f"the value of {name} is empty or has spaces, quotes or backslashes",
            hint="systemd and the manager read these lines differently then; use a plain value",
            variable=name,
        )


def _whole(overrides: PlanOverrides, name: str) -> int | None:
    value = overrides.arguments.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigurationError(f"{name} must be a whole number above 0, not {value!r}", argument=name)
    return value


def _share(overrides: PlanOverrides, name: str) -> float | None:
    value = overrides.arguments.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
        raise ConfigurationError(f"{name} must be above 0 and at most 1, not {value!r}", argument=name)
    return float(value)
