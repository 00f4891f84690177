"""VoxtralConfig: what a client of the speech service may choose, and where each value came from.

Defaults < file < environment < arguments. The file is ``voxtral.toml`` in the configuration directory, or the one
that VOXTRAL_CONFIG names; the variables are the options' names in capitals after ``VOXTRAL_``.
"""

from __future__ import annotations

import difflib
import os
import re
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from voxtral_ops.errors import ConfigurationError
from voxtral_ops.paths import default_layout

FILE = "voxtral.toml"
PREFIX = "VOXTRAL_"


class VoxtralConfig(BaseModel):
    """How an application reaches speech. Every option has a default that finds what ``up`` installed."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    server: str | None = Field(None, description="address of the server without /v1; unset: the one this host runs")
    model: str | None = Field(None, description="served name of the model; unset: the one that is served")
    api_key: SecretStr | None = Field(None, description="key of the server; better in a file of its own")
    api_key_file: Path | None = Field(None, description="file that holds the key and nothing else")
    timeout: float = Field(300.0, gt=0, le=86_400, description="seconds to wait for an answer")
    connect_timeout: float = Field(5.0, gt=0, le=600, description="seconds to wait for a connection")
    concurrency: int = Field(4, ge=1, le=64, description="pieces of a long recording that are heard at once")
    backend: Literal["auto", "voxtral", "whisper"] = Field("auto", description="who transcribes")
    whisper_python: Path | None = Field(
        None, description="interpreter that has faster-whisper; unset: the installed one"
    )
    whisper_weights: Path | None = Field(None, description="folder of the weights; unset: the installed ones")
    whisper_size: str = Field("tiny.en", pattern=r"^[A-Za-z0-9._-]+$", description="which of the installed weights")
    whisper_threads: int = Field(0, ge=0, le=256, description="threads of Whisper; 0: the cores, four at most")

    @field_validator("server")
    @classmethod
    def _is_an_address(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("must be an address as http://127.0.0.1:8000")
        if parts.username or parts.password:
            raise ValueError("must not hold a password; use api_key_file")
        if parts.query or parts.fragment:
            raise ValueError("must not hold a query")
        _ = parts.port  # raises ValueError when it is no port
        return value.rstrip("/").removesuffix("/v1")

    @classmethod
    def load(cls, **arguments: Any) -> Self:
        """The configuration in force. Arguments that are None are not set. Raises ConfigurationError."""
        config = resolve(arguments).config
        return cls.model_construct(**dict(config))

    def key(self) -> SecretStr | None:
        """The server's key, from the option or from its file. Raises ConfigurationError when there is none in it."""
        if self.api_key is not None or self.api_key_file is None:
            return self.api_key
        try:
            text = self.api_key_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(
                f"the key in {self.api_key_file} cannot be read: {error}", hint="check api_key_file and its owner"
            ) from error
        if not text:
            raise ConfigurationError(f"{self.api_key_file} is empty", hint="write the key into it, one line")
        return SecretStr(text)


@dataclass(frozen=True)
class Resolution:
    """A configuration with the origin of each value."""

    config: VoxtralConfig
    origins: Mapping[str, str]
    """``default``, ``argument``, ``environment VOXTRAL_…`` or ``<file>:<line>``."""
    file: Path | None
    """The file that was read."""


def resolve(arguments: Mapping[str, Any] | None = None, environment: Mapping[str, str] | None = None) -> Resolution:
    """Collect, check and explain the configuration. Raises ConfigurationError naming place, value and cure."""
    env = os.environ if environment is None else environment
    path = config_file(env)
    values: dict[str, Any] = {}
    origins = dict.fromkeys(VoxtralConfig.model_fields, "default")
    from_file = _read(path) if path else {}
    layers: list[tuple[Mapping[str, Any], Mapping[str, str]]] = [
        (from_file, _places(path, from_file)),
        _from_environment(env),
        _from_arguments(arguments or {}),
    ]
    for found, places in layers:
        values.update(found)
        origins.update(places)
    try:
        config = VoxtralConfig.model_validate(values)
    except ValidationError as error:
        raise _explained(error, values, origins) from None
    return Resolution(config=config, origins=origins, file=path)


def config_file(environment: Mapping[str, str]) -> Path | None:
    """The file to read, None when there is none. One that VOXTRAL_CONFIG names must exist."""
    named = environment.get(PREFIX + "CONFIG")
    if not named:
        path = default_layout().config / FILE
        return path if path.exists() else None
    path = Path(named)
    if not path.is_file():
        raise ConfigurationError(
            f"VOXTRAL_CONFIG names {path}, which is no file", hint="correct or unset it", path=path
        )
    return path


def _read(path: Path) -> dict[str, Any]:
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"{path} cannot be read: {error}", hint="check its owner and mode", path=path
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path}: {error}", hint='TOML wants name = "value"', path=path) from error
    for name in raw:
        if name not in VoxtralConfig.model_fields:
            raise ConfigurationError(
                f"{path}:{_line(path, name)}: unknown option {name!r}", hint=_nearest(name), path=path
            )
    if "api_key" in raw and stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise ConfigurationError(
            f"{path}:{_line(path, 'api_key')}: a key in a file that others may read",
            hint=f"chmod 600 {path}, or put the key alone into a file and name that in api_key_file",
            path=path,
        )
    return raw


def _places(path: Path | None, names: Mapping[str, Any]) -> dict[str, str]:
    return {name: f"{path}:{_line(path, name)}" for name in names} if path else {}


def _from_environment(environment: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Variables that are options. Others of our prefix belong to other parts, unless they are a slip of the pen."""
    found: dict[str, Any] = {}
    for variable, value in sorted(environment.items()):
        name = variable.removeprefix(PREFIX).lower()
        if not variable.startswith(PREFIX) or value == "":
            continue
        if name in VoxtralConfig.model_fields:
            found[name] = value
        elif difflib.get_close_matches(name, VoxtralConfig.model_fields, n=1, cutoff=0.85):
            raise ConfigurationError(f"unknown variable {variable}", hint=_nearest(name, PREFIX), variable=variable)
    return found, {name: f"environment {PREFIX}{name.upper()}" for name in found}


def _from_arguments(arguments: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    for name in arguments:
        if name not in VoxtralConfig.model_fields:
            raise ConfigurationError(f"unknown option {name!r}", hint=_nearest(name))
    found = {name: value for name, value in arguments.items() if value is not None}
    return found, dict.fromkeys(found, "argument")


def _explained(error: ValidationError, values: Mapping[str, Any], origins: Mapping[str, str]) -> ConfigurationError:
    first = error.errors()[0]
    name = str(first["loc"][0])
    shown = "" if name == "api_key" else f" = {values.get(name)!r}"
    reason = first["msg"].removeprefix("Value error, ")
    described = VoxtralConfig.model_fields[name].description
    return ConfigurationError(
        f"{origins[name]}: {name}{shown}: {reason[:1].lower()}{reason[1:]}", hint=f"{name}: {described}", option=name
    )


def _line(path: Path | None, name: str) -> int:
    """The line on which a name of the file stands; tomllib does not say."""
    assert path is not None
    pattern = re.compile(rf"""^\s*\[{{0,2}}["']?{re.escape(name)}["']?\s*[\].=]""")
    lines = path.read_text(encoding="utf-8").splitlines()
    return next((number for number, line in enumerate(lines, 1) if pattern.match(line)), 1)


def _nearest(name: str, prefix: str = "") -> str:
    close = difflib.get_close_matches(name.lower(), VoxtralConfig.model_fields, n=1, cutoff=0.5)
    shape = str.upper if prefix else str
    guess = f"did you mean {prefix}{shape(close[0])}? " if close else ""
    return f"{guess}known: {', '.join(prefix + shape(option) for option in VoxtralConfig.model_fields)}"
