"""The probe as one file (a zipapp) that runs on any Python from 3.9 on, NVIDIA's bindings inside."""

from __future__ import annotations

import importlib.util
import os
import tempfile
import zipfile
from pathlib import Path

from voxtral_ops.errors import HostError
from voxtral_ops.hardware import probe

_START = '"""Start the probe."""\nimport sys\n\nfrom probe import main\n\nsys.exit(main())\n'
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The same contents give the same bytes, so that copying the probe to a host again changes nothing there."""


def build_probe(destination: Path) -> Path:
    """Write the zipapp to ``destination`` (atomically) and return it."""
    bindings = importlib.util.find_spec("pynvml")
    if bindings is None or bindings.origin is None:
        raise HostError(
            "NVIDIA's bindings are not installed here, so the probe could not see GPUs",
            hint="install nvidia-ml-py into this environment",
        )
    here = Path(probe.__file__).parent
    contents = {
        "__main__.py": _START.encode(),
        **{name: (here / name).read_bytes() for name in ("probe.py", "gpus.py", "devices.py", "holders.py")},
        "pynvml.py": Path(bindings.origin).read_bytes(),
    }
    destination.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=destination.parent, prefix=f".{destination.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(b"#!/usr/bin/env python3\n")
            with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
                for path, data in contents.items():
                    archive.writestr(zipfile.ZipInfo(path, _EPOCH), data, zipfile.ZIP_DEFLATED)
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).chmod(0o755)
        Path(name).replace(destination)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return destination
