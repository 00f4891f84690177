"""Every role's inputs: said once, with the same default where it is documented and where it takes effect."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir())


def read(path: Path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("role", ROLES)
def test_documented_defaults_are_the_defaults(role):
    defaults = read(ROOT / "roles" / role / "defaults" / "main.yml")
    spec = read(ROOT / "roles" / role / "meta" / "argument_specs.yml")["argument_specs"]["main"]["options"]
    assert {name: option["default"] for name, option in spec.items()} == defaults


@pytest.mark.parametrize("role", ROLES)
def test_every_input_is_explained_in_the_readme(role):
    readme = (ROOT / "roles" / role / "README.md").read_text(encoding="utf-8")
    for name in read(ROOT / "roles" / role / "defaults" / "main.yml"):
        assert f"`{name}`" in readme
    for heading in ("Outcome", "Idempotent", "Check mode", "Way back"):
        assert f"**{heading}**" in readme


@pytest.mark.parametrize("role", ROLES)
def test_every_input_is_in_the_example_inventory(role):
    folder = ROOT / "inventory" / "example" / "group_vars" / "all"
    text = (folder / f"{role}.yml").read_text(encoding="utf-8")
    for name in read(ROOT / "roles" / role / "defaults" / "main.yml"):
        assert name in text


def test_the_layout_of_the_roles_is_the_packages_layout():
    from voxtral_ops.paths import system_layout

    defaults = read(ROOT / "roles/voxtral_hardware/defaults/main.yml")["voxtral_hardware_layout"]
    assert defaults == {key: str(value) for key, value in vars(system_layout()).items()}


@pytest.mark.parametrize("playbook", sorted((ROOT / "playbooks").glob("*.yml")), ids=lambda path: path.stem)
def test_a_playbook_only_lists_roles(playbook):
    for play in read(playbook):
        assert set(play) == {"name", "hosts", "gather_facts", "become", "roles"}
        assert all(set(role) == {"role"} for role in play["roles"])


def test_the_modules_are_documented_with_their_arguments():
    """What a module takes is what its documentation says it takes."""
    import ast

    for path in sorted((ROOT / "voxtral_ops/ansible_plugins/modules").glob("voxtral_*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        texts = {
            node.targets[0].id: node.value.value
            for node in tree.body
            if isinstance(node, ast.Assign)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.targets[0], ast.Name)
        }
        documentation = yaml.safe_load(texts["DOCUMENTATION"])
        assert documentation["module"] == path.stem
        assert documentation["attributes"]["check_mode"]["support"] == "full"
        assert yaml.safe_load(texts["EXAMPLES"])[0][path.stem] is not ...
        assert yaml.safe_load(texts["RETURN"])
