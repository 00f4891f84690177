"""What each engine understands, as it lists itself; and what a misspelt option was meant to be."""

from __future__ import annotations

import difflib
from functools import cache

from voxtral_ops.catalog import DATA
from voxtral_ops.errors import ConfigurationError


@cache
def known_options(version: str) -> frozenset[str]:
    """List the long options of ``vllm serve`` of that version, without dashes. Empty where no list was made.

    ``tools/engine_options.py`` makes the lists.
    """
    return frozenset(line.removeprefix("--") for line in _listed(version) if line.startswith("--"))


@cache
def known_variables(version: str) -> frozenset[str]:
    """List the environment variables that vLLM of that version reads. Empty where no list was made."""
    return frozenset(line for line in _listed(version) if not line.startswith(("--", "#")))


def _listed(version: str) -> list[str]:
    path = DATA / "options" / f"{version}.txt"
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


def unknown_option(name: str, version: str) -> ConfigurationError | None:
    """Say that vLLM has no such option, and which one may be meant; None where it has it."""
    return _unknown(name, known_options(version), f"vLLM {version} has no option {name}")


def unknown_variable(name: str, version: str) -> ConfigurationError | None:
    """Say that vLLM reads no such variable of its own, and which one may be meant; None where it does."""
    own = known_variables(version) if name.startswith("VLLM_") else frozenset()
    return _unknown(name, own, f"vLLM {version} reads no variable {name}")


def _unknown(name: str, known: frozenset[str], words: str) -> ConfigurationError | None:
    if not known or name in known:
        return None
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    hint = f"did you mean {close[0]}?" if close else "voxtral_ops/data/options lists them all"
    return ConfigurationError(words, hint=hint, argument=name)
