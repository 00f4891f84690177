"""What an operator may fix in a plan, and what may not be fixed there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from voxtral_ops.catalog import CatalogModel, catalog_model
from voxtral_ops.errors import ConfigurationError
from voxtral_ops.planning.fit import Wishes
from voxtral_ops.planning.memory import Precision
from voxtral_ops.planning.plan import Goal, Setting

FORBIDDEN = {
    "api-key": "a plan is readable by everybody on the host: give keys to the server through its credentials",
    "config": "the plan is the configuration",
    "model": "use the plan's own `models`",
    "host": "the server listens on this machine only; the edge is the door for others",
    "port": "use the plan's own `port`",
    "served-model-name": "clients know the model by its repository's name",
    "trust-remote-code": "it runs code that came with the weights",
    "allowed-local-media-path": "it lets every client read the server's files",
    "enable-scale-out": "it opens routes that no key guards",
}
SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSWORD", re.IGNORECASE)
PRECISIONS: dict[str, Precision] = {"fp8": "fp8", "none": "16-bit"}
UNITS = {"k": 10**3, "m": 10**6, "g": 10**9, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
"""As vLLM reads them (utils/argparse_utils.py, human_readable_int)."""


class PlanOverrides(BaseModel):
    """The operator's wishes; everything that is left out is planned."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    goal: Goal = "balanced"
    models: tuple[str, ...] = ()
    """What to serve of the release; all that fit, where it is empty."""
    port: int | None = Field(default=None, ge=1, le=65535)
    """Of the first instance; the next ones follow."""
    arguments: dict[str, Setting] = {}
    """vLLM's long options without dashes; ``mini-3b:max-model-len`` is for that model alone."""
    environment: dict[str, str] = {}
    force: bool = False
    """Take what the arithmetic refuses, with a warning in the plan."""

    @model_validator(mode="before")
    @classmethod
    def _one_model(cls, raw: Any) -> Any:
        if isinstance(raw, Mapping) and raw.get("model") and not raw.get("models"):
            return {**{key: raw[key] for key in raw if key != "model"}, "models": (raw["model"],)}
        return raw

    def arguments_of(self, model: CatalogModel) -> dict[str, Setting]:
        """Collect the options for one model; its own go before those for all."""
        own = {name.partition(":")[2]: value for name, value in self.arguments.items() if self._names(name, model)}
        return {name: value for name, value in self.arguments.items() if ":" not in name} | own

    @staticmethod
    def _names(option: str, model: CatalogModel) -> bool:
        return ":" in option and catalog_model(option.partition(":")[0]).name == model.name


def check_overrides(overrides: PlanOverrides) -> None:
    """Refuse what cannot be meant and what must not be, forced or not."""
    for name, value in overrides.arguments.items():
        _check_argument(name, value)
    for name, text in overrides.environment.items():
        _check_variable(name, text)


def wishes_of(overrides: PlanOverrides, model: CatalogModel) -> Wishes:
    """Collect what changes the arithmetic for one model. Raises ConfigurationError for what is no number."""
    arguments = overrides.arguments_of(model)
    return Wishes(
        context=_whole(arguments, "max-model-len"),
        utilisation=_share(arguments, "gpu-memory-utilization"),
        precision=PRECISIONS.get(str(arguments.get("quantization"))),
        parallel=_whole(arguments, "tensor-parallel-size"),
        batch=_whole(arguments, "max-num-batched-tokens"),
        seqs=_whole(arguments, "max-num-seqs"),
        cache=_whole(arguments, "kv-cache-memory-bytes"),
    )


def _check_argument(spelt: str, value: Setting) -> None:
    model, colon, name = spelt.rpartition(":")
    if colon:
        catalog_model(model)
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


def _whole(arguments: Mapping[str, Setting], name: str) -> int | None:
    value: Any = arguments.get(name)
    if value is None:
        return None
    if isinstance(value, str) and (found := re.fullmatch(r"(\d+)([kmgKMG]?)", value)):
        value = int(found[1]) * UNITS.get(found[2], 1)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigurationError(f"{name} must be a whole number above 0, not {value!r}", argument=name)
    return value


def _share(arguments: Mapping[str, Setting], name: str) -> float | None:
    value = arguments.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
        raise ConfigurationError(f"{name} must be above 0 and at most 1, not {value!r}", argument=name)
    return float(value)
