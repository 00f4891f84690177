"""Write a synthetic model into a folder on a host: the same bytes every time; their hashes stand in the inventory.

``python3 model.py FOLDER``, and ``python3 model.py FOLDER lie`` for files of the same names and sizes with other bytes.
"""

import hashlib
import json
import sys
from pathlib import Path

SIZES = {"consolidated.safetensors": 24_000_000, "params.json": 700, "tekken.json": 60_000}


def main() -> None:
    """Write the files and print what a release says of them."""
    folder, salt = Path(sys.argv[1]), "".join(sys.argv[2:])
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, size in SIZES.items():
        data = hashlib.shake_256(f"{name}{salt}".encode()).digest(size)
        (folder / name).write_bytes(data)
        files.append({"path": name, "size": size, "sha256": hashlib.sha256(data).hexdigest()})
    print(json.dumps(files, indent=2))  # noqa: T201


if __name__ == "__main__":
    main()
