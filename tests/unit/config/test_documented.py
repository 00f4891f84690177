"""The manual names every option with its default, every field of an answer and every row of the fallback table."""

from pathlib import Path

from voxtral_ops.audio import AudioLimits
from voxtral_ops.config import VoxtralConfig
from voxtral_ops.speech import Transcript
from voxtral_ops.speech.policy import AFTER_ERROR

DOCS = Path(__file__).resolve().parents[3] / "docs"
CONFIGURATION = (DOCS / "configuration.md").read_text(encoding="utf-8")
AUDIO = (DOCS / "audio.md").read_text(encoding="utf-8")
TRANSCRIBE = (DOCS / "transcribe.md").read_text(encoding="utf-8")


def test_every_option_has_its_row_and_its_default() -> None:
    rows = dict(line.split("|")[1:3] for line in CONFIGURATION.splitlines() if line.startswith("| `"))
    documented = {name.strip(" `"): default.strip(" `") for name, default in rows.items()}
    assert set(documented) == set(VoxtralConfig.model_fields)
    for name, field in VoxtralConfig.model_fields.items():
        if isinstance(field.default, int | float):
            assert float(documented[name]) == field.default
        elif isinstance(field.default, str):
            assert documented[name] == field.default


def test_every_field_of_a_transcript_is_explained() -> None:
    for name in Transcript.model_fields:
        assert f"`{name}`" in TRANSCRIBE


def test_the_fallback_table_is_the_code_s() -> None:
    for row in AFTER_ERROR:
        assert f"| {row.because} | {'yes' if row.whisper else 'no'}" in TRANSCRIBE


def test_the_limits_are_the_code_s() -> None:
    limits = AudioLimits()
    assert f"| `channels`, `rate` | {limits.channels}, {limits.rate} |" in AUDIO
    assert f"| `cpu_seconds`, `wall_seconds` | {limits.cpu_seconds:g}, {limits.wall_seconds:g} |" in AUDIO
