"""Check a language code once, before any backend sees it."""

from __future__ import annotations

import re

from voxtral_ops.errors import ConfigurationError


def checked_language(language: str | None) -> str | None:
    """The code in lower case, None for none. Raises ConfigurationError for anything but two letters."""
    if language is None or not language.strip():
        return None
    code = language.strip().lower()
    if re.fullmatch(r"[a-z]{2}", code):
        return code
    short = re.split(r"[-_]", code)[0]
    guess = f"did you mean {short}? " if re.fullmatch(r"[a-z]{2}", short) else ""
    raise ConfigurationError(
        f"{language!r} is no language code", hint=f"{guess}use two letters of ISO 639-1: en, de, fr", value=language
    )
