"""The action that packs this project: whole, from a checkout and from an installation, named by its contents."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.modules.conftest import PLUGINS, load
from voxtral_ops import __version__

WHEEL = load(PLUGINS / "action" / "voxtral_wheel.py", "voxtral_test_wheel")
ROOT = Path(__file__).resolve().parents[2]
NAME = f"voxtral_ops-{__version__}-py3-none-any.whl"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    wheel = tmp_path_factory.mktemp("built") / "id" / NAME
    WHEEL._build(ROOT, wheel, True, __version__, [])
    return wheel


def test_a_checkouts_wheel_carries_what_provisions(built):
    names = set(zipfile.ZipFile(built).namelist())
    assert "voxtral_ops/_provision/playbooks/site.yml" in names
    assert "voxtral_ops/_provision/inventory/local/hosts.yml" in names
    assert "voxtral_ops/_provision/roles/voxtral_engine/files/cpu.txt" in names
    assert "voxtral_ops/ansible_plugins/modules/voxtral_venv.py" in names
    assert built.stat().st_mode & 0o777 == 0o644


def test_an_installation_packs_itself_into_a_wheel_of_the_same_contents(built, tmp_path):
    site = tmp_path / "site-packages"
    zipfile.ZipFile(built).extractall(site)
    (site / "voxtral_ops" / "__pycache__").mkdir()
    (site / "voxtral_ops" / "__pycache__" / "x.pyc").write_bytes(b"")
    again = tmp_path / "again" / NAME
    WHEEL._build(site, again, False, __version__, WHEEL._files(site, ("voxtral_ops",)))
    assert set(zipfile.ZipFile(again).namelist()) == set(zipfile.ZipFile(built).namelist())
    uv = Path(sys.executable).parent / "uv"
    target = tmp_path / "target"
    command = [uv, "pip", "install", "--offline", "--no-deps", "--target", target, "--cache-dir", tmp_path / "c", again]
    subprocess.run(command, check=True, capture_output=True)
    assert (target / "voxtral_ops" / "errors.py").read_bytes() == (ROOT / "voxtral_ops" / "errors.py").read_bytes()


def test_the_identity_changes_with_the_contents_and_with_nothing_else(tmp_path):
    (tmp_path / "voxtral_ops").mkdir()
    source = tmp_path / "voxtral_ops" / "a.py"
    source.write_text("1")
    files = WHEEL._files(tmp_path, ("voxtral_ops", "absent"))
    before = WHEEL._digest(tmp_path, files)
    source.touch()
    assert WHEEL._digest(tmp_path, files) == before
    source.write_text("2")
    assert WHEEL._digest(tmp_path, files) != before


def test_a_build_that_fails_leaves_no_wheel(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    wheel = tmp_path / "cache" / "id" / NAME
    with pytest.raises(subprocess.CalledProcessError):
        WHEEL._build(tmp_path, wheel, True, __version__, [])
    assert not wheel.exists()
