"""Action: the project as a wheel, on the controller, built again only when its contents have changed."""

# Ansible wants the documentation above the imports, and the package may be absent where this runs.
# ruff: noqa: PLC0415

from __future__ import annotations

import base64
import csv
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from ansible.plugins.action import ActionBase

# The package that this plugin belongs to, whether it is installed beside Ansible or lies in a checkout.
sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

PARTS = ("voxtral_ops", "playbooks", "roles", "pyproject.toml", "ansible.cfg", "README.md", "LICENSE")


class ActionModule(ActionBase):
    """Fills a cache of the controller; nothing on a host. So it does the same in check mode."""

    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        import voxtral_ops
        from voxtral_ops.paths import default_layout

        package = Path(voxtral_ops.__file__).resolve().parent
        root = package.parent
        checkout = (root / "pyproject.toml").is_file()
        sources = _files(root, PARTS) if checkout else _files(root, ("voxtral_ops",))
        digest = _digest(root, sources)
        identity = f"{voxtral_ops.__version__}-{digest[:8]}"
        wheel = default_layout().cache / "wheels" / identity / f"voxtral_ops-{voxtral_ops.__version__}-py3-none-any.whl"
        if not wheel.is_file():
            try:
                _build(root, wheel, checkout, voxtral_ops.__version__, sources)
            except (OSError, subprocess.CalledProcessError) as error:
                words = getattr(error, "stderr", "") or str(error)
                hint = "hatchling and editables must be beside ansible-core: pip install 'voxtral-ops[provision]'"
                return {
                    **result,
                    "failed": True,
                    "msg": f"the project's wheel could not be built: {words[-800:]}",
                    "hint": hint,
                }
        result["voxtral_wheel"] = {"path": str(wheel), "id": identity}
        return result


def _files(root: Path, parts: tuple) -> list:
    found = []
    for part in parts:
        place = root / part
        found += [path for path in place.rglob("*") if path.is_file()] if place.is_dir() else [place]
    return sorted(path for path in found if "__pycache__" not in path.parts and path.is_file())


def _digest(root: Path, files: list) -> str:
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.relative_to(root)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _build(root: Path, wheel: Path, checkout: bool, version: str, files: list) -> None:
    """Build beside, then rename: a torn build is never taken for a wheel."""
    wheel.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=wheel.parent.parent, prefix=".build-") as folder:
        if checkout:
            environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
            subprocess.run(
                [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder],
                cwd=root,
                env=environment,
                capture_output=True,
                text=True,
                check=True,
            )
        else:
            _repack(root, Path(folder) / wheel.name, version, files)
        built = next(iter(Path(folder).glob("*.whl")))
        shutil.move(str(built), wheel)
    wheel.chmod(0o644)


def _repack(root: Path, target: Path, version: str, files: list) -> None:
    """The wheel that this installation came from, from its installed files."""
    info = f"voxtral_ops-{version}.dist-info"
    metadata = [root / info / name for name in ("METADATA", "WHEEL", "entry_points.txt")]
    licenses = sorted(path for path in (root / info / "licenses").rglob("*") if path.is_file())
    records = io.StringIO()
    writer = csv.writer(records, lineterminator="\n")
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in [*files, *(path for path in metadata if path.is_file()), *licenses]:
            name, data = path.relative_to(root).as_posix(), path.read_bytes()
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            writer.writerow((name, f"sha256={digest}", len(data)))
        writer.writerow((f"{info}/RECORD", "", ""))
        archive.writestr(zipfile.ZipInfo(f"{info}/RECORD"), records.getvalue(), zipfile.ZIP_DEFLATED)
