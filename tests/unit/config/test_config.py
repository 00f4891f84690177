"""Defaults < file < environment < arguments; every mistake names its place, its value and the nearest right name."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from voxtral_ops.config import VoxtralConfig, resolve
from voxtral_ops.errors import ConfigurationError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "voxtral.toml"
    path.write_text("")
    return path


@pytest.fixture
def environment(file: Path) -> dict[str, str]:
    return {"VOXTRAL_CONFIG": str(file), "HOME": "/nowhere"}


def mistake(environment: dict[str, str], **arguments: Any) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        resolve(arguments, environment)
    assert caught.value.hint
    return caught.value


def test_each_source_beats_the_one_before(file: Path, environment: dict[str, str]) -> None:
    file.write_text('# ours\nserver = "http://file:1"\ntimeout = 1\nconnect_timeout = 1\n')
    environment |= {"VOXTRAL_TIMEOUT": "2", "VOXTRAL_CONNECT_TIMEOUT": "2"}
    found = resolve({"connect_timeout": 3, "model": None}, environment)
    assert found.config.server == "http://file:1"
    assert (found.config.timeout, found.config.connect_timeout, found.config.backend) == (2, 3, "auto")
    assert found.origins["server"] == f"{file}:2"
    assert found.origins["timeout"] == "environment VOXTRAL_TIMEOUT"
    assert found.origins["connect_timeout"] == "argument"
    assert found.origins["model"] == found.origins["backend"] == "default"
    assert found.file == file


def test_the_file_of_the_user_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("VOXTRAL_CONFIG", raising=False)
    assert resolve().file is None
    (tmp_path / "voxtral").mkdir()
    (tmp_path / "voxtral" / "voxtral.toml").write_text('backend = "whisper"')
    assert VoxtralConfig.load().backend == "whisper"
    assert VoxtralConfig.load(backend="voxtral").backend == "voxtral"


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000"),
        ("https://speech.example/v1", "https://speech.example"),
        ("https://speech.example/door/v1/", "https://speech.example/door"),
    ],
)
def test_an_address_is_kept_without_v1(environment: dict[str, str], address: str, kept: str) -> None:
    assert resolve({"server": address}, environment).config.server == kept


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("server", "127.0.0.1:8000", "must be an address"),
        ("server", "ftp://x", "must be an address"),
        ("server", "http://x:99999", "Port out of range"),
        ("server", "http://user:pw@x", "must not hold a password"),
        ("server", "http://x?key=1", "must not hold a query"),
        ("timeout", "soon", "valid number"),
        ("timeout", "0", "greater than 0"),
        ("timeout", "nan", "less than or equal"),
        ("whisper_threads", "-1", "greater than or equal to 0"),
        ("whisper_size", "../../etc", "match pattern"),
        ("backend", "kaldi", "'auto', 'voxtral' or 'whisper'"),
    ],
)
def test_a_wrong_value_names_place_and_value(environment: dict[str, str], name: str, value: str, words: str) -> None:
    variable = f"VOXTRAL_{name.upper()}"
    error = mistake(environment | {variable: value})
    assert error.message.startswith(f"environment {variable}: {name} = ")
    assert words.lower() in error.message.lower()


def test_a_wrong_value_in_the_file_names_its_line(file: Path, environment: dict[str, str]) -> None:
    file.write_text('server = "http://x"\n\n# patience\ntimeout = -3\n')
    assert mistake(environment).message.startswith(f"{file}:4: timeout = -3: ")


def test_an_unknown_name_in_the_file_names_line_and_neighbour(file: Path, environment: dict[str, str]) -> None:
    file.write_text('model = "nano"\nwhisper_pyton = "/usr/bin/python3"\n')
    error = mistake(environment)
    assert f"{file}:2: unknown option 'whisper_pyton'" in error.message
    assert "did you mean whisper_python?" in error.hint


def test_a_section_is_an_unknown_name(file: Path, environment: dict[str, str]) -> None:
    file.write_text('\n[whisper]\npython = "/usr/bin/python3"\n')
    assert f"{file}:2: unknown option 'whisper'" in mistake(environment).message


def test_a_file_that_is_no_toml_names_the_line(file: Path, environment: dict[str, str]) -> None:
    file.write_text("server = http://x\n")
    error = mistake(environment)
    assert str(file) in error.message
    assert "line 1" in error.message


def test_a_file_in_another_encoding(file: Path, environment: dict[str, str]) -> None:
    file.write_bytes(b"model = \xff\xfe")
    assert "cannot be read" in mistake(environment).message


def test_a_named_file_must_exist(environment: dict[str, str], tmp_path: Path) -> None:
    assert "none.toml" in mistake({"VOXTRAL_CONFIG": str(tmp_path / "none.toml")}).message


def test_a_slip_in_a_variable_is_found_and_others_are_left_alone(environment: dict[str, str]) -> None:
    resolve(
        {}, environment | {"VOXTRAL_PROGRESS": "/tmp/x", "VOXTRAL_PYTHON": "python3", "VOXTRAL_PROGRAM": "./voxtral"}
    )
    error = mistake(environment | {"VOXTRAL_SERVR": "http://x"})
    assert "VOXTRAL_SERVR" in error.message
    assert "did you mean VOXTRAL_SERVER?" in error.hint


def test_an_empty_variable_is_not_set(environment: dict[str, str]) -> None:
    assert resolve({}, environment | {"VOXTRAL_TIMEOUT": ""}).config.timeout == 300


def test_an_unknown_argument(environment: dict[str, str]) -> None:
    assert "did you mean language?" not in mistake(environment, langage="en").hint
    assert "did you mean server?" in mistake(environment, sever="http://x").hint


def test_it_cannot_be_changed_afterwards() -> None:
    with pytest.raises(ValidationError):
        VoxtralConfig().timeout = 1  # type: ignore[misc]


def test_the_key_comes_from_its_file(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "key").write_text("s3cret\n")
    config = resolve({"api_key_file": tmp_path / "key"}, environment).config
    key = config.key()
    assert key is not None
    assert key.get_secret_value() == "s3cret"
    assert "s3cret" not in repr(config) + config.model_dump_json()


@pytest.mark.parametrize("content", [None, "", "\n"])
def test_a_key_file_without_a_key(tmp_path: Path, environment: dict[str, str], content: str | None) -> None:
    if content is not None:
        (tmp_path / "key").write_text(content)
    with pytest.raises(ConfigurationError) as caught:
        resolve({"api_key_file": tmp_path / "key"}, environment).config.key()
    assert caught.value.hint


def test_a_key_in_a_file_that_others_may_read_is_refused(file: Path, environment: dict[str, str]) -> None:
    file.write_text('api_key = "s3cret"\n')
    file.chmod(0o644)
    error = mistake(environment)
    assert "chmod 600" in error.hint
    assert "s3cret" not in str(error.as_dict())
    file.chmod(0o600)
    assert resolve({}, environment).config.api_key is not None


def test_a_wrong_key_is_not_shown(file: Path, environment: dict[str, str]) -> None:
    file.write_text("api_key = 12345\n")
    file.chmod(0o600)
    assert "12345" not in str(mistake(environment).as_dict())


@given(
    st.dictionaries(
        st.sampled_from(["VOXTRAL_SERVER", "VOXTRAL_TIMEOUT", "VOXTRAL_BACKEND", "VOXTRAL_WHISPER_THREADS"]),
        st.text(max_size=20),
    )
)
def test_any_environment_gives_a_configuration_or_a_configuration_error(variables: dict[str, str]) -> None:
    try:
        config = resolve({}, {"HOME": "/nowhere", **variables}).config
    except ConfigurationError:
        return
    assert config.timeout > 0
    assert config.server is None or config.server.startswith("http")
