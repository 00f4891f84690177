"""The examples of docs/audio.md do what they say."""

import re
from pathlib import Path

import pytest

from tests.unit.audio.sounds import encoded

PAGE = Path(__file__).resolve().parents[3] / "docs" / "audio.md"
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
SAID = ["1.0", "upload 17 is not a readable recording"]


@pytest.mark.parametrize(("example", "said"), list(zip(EXAMPLES, SAID, strict=True)))
def test_examples_run(
    example: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "talk.mp3").write_bytes(encoded("mp3"))
    monkeypatch.chdir(tmp_path)
    exec(compile(example, PAGE, "exec"), {})
    assert said in capsys.readouterr().out
