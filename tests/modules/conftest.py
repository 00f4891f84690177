"""Run a module's main() in this process, as Ansible's own test harness does, and read what it answered."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PLUGINS = Path(__file__).resolve().parents[2] / "voxtral_ops" / "ansible_plugins"
RunModule = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session", autouse=True)
def module_utils() -> None:
    """Modules import their helpers by the names that they have on a host."""
    for path in (PLUGINS / "module_utils").glob("voxtral_*.py"):
        name = f"ansible.module_utils.{path.stem}"
        if name not in sys.modules:
            load(path, name)


def load(path: Path, name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def run_module(capsys: pytest.CaptureFixture[str]) -> RunModule:
    """``run_module("voxtral_venv", path=…, _check=True)`` → what the module printed, as a dict."""

    def run(
        name: str, _check: bool = False, _diff: bool = False, _module: Any = None, **arguments: Any
    ) -> dict[str, Any]:
        from ansible.module_utils.testing import patch_module_args

        module = _module or load(PLUGINS / "modules" / f"{name}.py", f"voxtral_test_{name}")
        with patch_module_args({**arguments, "_ansible_check_mode": _check, "_ansible_diff": _diff}):
            with pytest.raises(SystemExit):
                module.main()
        return json.loads(capsys.readouterr().out)

    return run
