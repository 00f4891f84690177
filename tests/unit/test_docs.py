"""The documentation: its links lead somewhere, its commands are understood, its Python is Python."""

import ast
import importlib
import re
import shlex
from pathlib import Path

import pytest

import voxtral_ops
from voxtral_ops.cli import main as cli

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: Path, *languages: str) -> list[str]:
    return [body for language, body in BLOCK.findall(page.read_text(encoding="utf-8")) if language in languages]


def commands() -> list[tuple[str, str]]:
    """Every line of a shell block that starts our command, without its comment."""
    found = []
    for page in PAGES:
        for body in blocks(page, "sh", "console", ""):
            for line in body.splitlines():
                match = re.match(r"\s*(?:\$ )?(?:[A-Z_]+=\S+ )*(?:\./voxtral|voxtral-ops) (.*)", line)
                if match:
                    found.append((page.name, match[1].split("  #")[0].split(" | ")[0].split(" > ")[0].strip()))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    prose = BLOCK.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", prose):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize(("page", "command"), commands())
def test_commands_are_understood(page: str, command: str) -> None:
    name, *words = shlex.split(command)
    if name == "--help":
        return
    assert name in cli.COMMANDS, f"{page}: {command}"
    module = importlib.import_module(f"voxtral_ops.cli.{name}")
    words = [word.replace("…", "") for word in words if word not in {"…", "[…]"}]
    status: object = 0
    try:
        cli.command_parser(name, module).parse_args(words)
    except SystemExit as stop:
        status = stop.code
    assert status == 0, f"{page}: {command}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_is_python_and_imports_what_exists(page: Path) -> None:
    for body in blocks(page, "python"):
        for node in ast.walk(ast.parse(body)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("voxtral_ops"):
                module = importlib.import_module(node.module or "")
                for alias in node.names:
                    assert hasattr(module, alias.name), f"{page.name}: {node.module}.{alias.name}"


def test_every_public_name_loads() -> None:
    for name in voxtral_ops.__all__:
        assert getattr(voxtral_ops, name) is not None
