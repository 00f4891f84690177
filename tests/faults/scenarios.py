"""What is interrupted: fetches, imports, collections and switches, each with what must hold whatever happened."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from tests.faults.small import BIG, FIRST, NAME, REPOSITORY, SECOND, contents, model_of, unproven, write_release
from tests.faults.tracing import Fault, forked, places

Run = Callable[[Path], str]
"""Does it below a root, and says ``done`` or how it was refused, an exception by its type."""
MODULE = Path(__file__).resolve().parents[2] / "voxtral_ops/ansible_plugins/modules/voxtral_release.py"


@dataclass(frozen=True)
class Scenario:
    """One thing to interrupt."""

    name: str
    prepare: Callable[[Path], None]
    run: Run
    holds: Callable[[Path], list[str]]
    """What is wrong; asked after the fault, and after it was run again."""
    reached: Callable[[Path], list[str]]
    """What is missing once it said that it is done."""


def command(*words: str) -> str:
    """Run a command of ours here."""
    from voxtral_ops.cli.main import main

    said = StringIO()
    try:
        with redirect_stdout(said), redirect_stderr(said):
            status = main(list(words))
    except BaseException as error:
        return f"escaped: {type(error).__name__}: {error}"
    if status == 0:
        return "done"
    words_said = said.getvalue()
    return f"refused: {words_said}" if "hint" in words_said else f"escaped without a hint: {words_said}"


def fetch(revision: str, *extra: str) -> Run:
    """``weights fetch`` of one revision, from the hub or from the folder that ``extra`` names."""

    def run(root: Path) -> str:
        words = [word.replace("ROOT", str(root)) for word in extra]
        release = root / f"{revision[0]}.json"
        return command("weights", "fetch", NAME, "--release", str(release), "--models", str(root / "models"), *words)

    return run


def has(*revisions: str) -> Callable[[Path], list[str]]:
    """These revisions are there with their own bytes."""

    def reached(root: Path) -> list[str]:
        wrong = []
        for revision in revisions:
            place = root / "models" / model_of({"x": b""}, revision).directory
            for name, data in contents(revision).items():
                if not (place / name).is_file() or (place / name).read_bytes() != data:
                    wrong.append(f"{revision[0]}: {name} is missing or wrong")
        return wrong

    return reached


def proven(root: Path) -> list[str]:
    """Nothing is served that is not complete and right."""
    return unproven(root / "models")


def releases(root: Path) -> None:
    """An empty models directory, the two releases, and the first one's files in a folder."""
    (root / "models").mkdir(parents=True)
    for revision in (FIRST, SECOND):
        write_release(root / f"{revision[0]}.json", model_of(contents(revision), revision))
        folder = root / f"carried-{revision[0]}"
        folder.mkdir()
        for name, data in contents(revision).items():
            (folder / name).write_bytes(data)


def must(answer: str) -> None:
    """A preparation went well."""
    if answer != "done":
        raise RuntimeError(answer)


def installed(root: Path) -> None:
    """The first revision is there."""
    releases(root)
    must(fetch(FIRST, "--from", f"{root}/carried-a")(root))


def damaged(root: Path) -> None:
    """One byte of the installed revision is wrong, and so is a small file's length."""
    installed(root)
    place = root / "models" / model_of({"x": b""}, FIRST).directory
    data = bytearray((place / BIG).read_bytes())
    data[1_300_000] ^= 1
    (place / BIG).write_bytes(data)
    (place / "params.json").write_bytes(b"{")


def interrupted(first: Run) -> Callable[[Path], None]:
    """``first`` was killed in the middle of its writing."""

    def prepare(root: Path) -> None:
        installed(root)
        keep = root.with_name(f"{root.name}-before")
        shutil.copytree(root, keep, symlinks=True)
        log = root.with_name(f"{root.name}.trace")
        clean = forked(lambda: first(root), log=log)
        writes = [place for place in places(clean.log, root) if place[0] in {"write", "pwrite64"}]
        shutil.rmtree(root)
        keep.rename(root)
        call, when = writes[len(writes) // 2]
        if not forked(lambda: first(root), Fault(call, when, "KILL"), log).killed:
            raise RuntimeError("the preparation was not killed")

    return prepare


def bundled(suffix: str) -> Callable[[Path], None]:
    """A bundle of the first revision, made on another machine."""

    def prepare(root: Path) -> None:
        releases(root)
        elsewhere, release = root.with_name("elsewhere"), str(root / "a.json")
        shutil.rmtree(elsewhere, ignore_errors=True)
        folder = str(root / "carried-a")
        must(command("weights", "fetch", NAME, "--release", release, "--models", str(elsewhere), "--from", folder))
        target = str(root / f"site{suffix}")
        must(command("weights", "export", target, "--release", release, "--models", str(elsewhere)))

    return prepare


def bring(suffix: str) -> Run:
    """``weights import`` of that bundle."""

    def run(root: Path) -> str:
        words = ["--release", str(root / "a.json"), "--models", str(root / "models")]
        return command("weights", "import", str(root / f"site{suffix}"), *words)

    return run


def crowded(root: Path) -> None:
    """Two revisions, of which a release needs the first, and what killed runs left of others."""
    installed(root)
    must(fetch(SECOND, "--from", f"{root}/carried-b")(root))
    plan = {"instances": [{"repository": REPOSITORY, "revision": FIRST}]}
    place = root / "home" / "releases" / "one"
    place.mkdir(parents=True)
    (place / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    for kind in ("partial", "old", "trash"):
        left = root / "models" / REPOSITORY / f".{'c' * 40}.{kind}"
        (left / "deep").mkdir(parents=True)
        (left / "deep" / BIG).write_bytes(bytes(100_000))


def collect(root: Path) -> str:
    """``weights gc``."""
    words = ["--grace", "0", "--home", str(root / "home"), "--models", str(root / "models")]
    return command("weights", "gc", *words)


def collected(root: Path) -> list[str]:
    """What a release needs is there; the rest is gone."""
    place = root / "models" / REPOSITORY
    names = {path.name for path in place.iterdir() if not path.name.endswith(".lock")}
    return has(FIRST)(root) + [f"{name} is still there" for name in sorted(names - {FIRST})]


def kept(root: Path) -> list[str]:
    """The model that a release needs is there at every moment, and nothing half is."""
    return proven(root) + has(FIRST)(root)


# ---------------------------------------------------------------------------------------------------- switch

FILES = {
    "one": {"plan.json": '{"release": "one"}\n', "instances/main/env": "A=1\n", "instances/main/server.yaml": "a: 1\n"},
    "two": {"plan.json": '{"release": "two"}\n', "instances/main/env": "A=2\n", "instances/main/server.yaml": "a: 2\n"},
}


def switch(name: str) -> Run:
    """The module that writes a release and flips the link."""

    def run(root: Path) -> str:
        arguments = {
            "path": str(root / "releases" / name),
            "files": FILES[name],
            "links": {"toolkit": f"/opt/toolkits/{name}", "instances/main/model": f"/models/{name}"},
            "current": str(root / "current"),
        }
        return run_module(arguments)

    return run


def run_module(arguments: dict[str, Any]) -> str:
    """Call its main() as Ansible does."""
    from ansible.module_utils.testing import patch_module_args

    module = release_module()
    said = StringIO()
    try:
        with patch_module_args(arguments), redirect_stdout(said):
            module.main()
    except SystemExit:
        answer = json.loads(said.getvalue())
        return "done" if not answer.get("failed") else f"refused: {answer['msg']}"
    except BaseException as error:
        return f"escaped: {type(error).__name__}: {error}"
    return "escaped: it answered nothing"


def release_module() -> Any:
    """Load the module by its path, as Ansible does."""
    if "voxtral_release" not in sys.modules:
        spec = importlib.util.spec_from_file_location("voxtral_release", MODULE)
        if spec is None or spec.loader is None:
            raise RuntimeError(f"{MODULE} cannot be loaded")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules["voxtral_release"] = module
    return sys.modules["voxtral_release"]


def whole(root: Path) -> list[str]:
    """``current`` names one release, wholly."""
    current = root / "current"
    if not current.is_symlink():
        return ["current is not a link"] if current.exists() else []
    name = current.readlink().name
    place = root / "releases" / name
    wrong = [
        f"current is {name}, and its {path} is wrong"
        for path, text in FILES[name].items()
        if not (place / path).is_file() or (place / path).read_text(encoding="utf-8") != text
    ]
    links = {"toolkit": f"/opt/toolkits/{name}", "instances/main/model": f"/models/{name}"}
    return wrong + [
        f"current is {name}, and its link {path} is wrong"
        for path, target in links.items()
        if not (place / path).is_symlink() or str((place / path).readlink()) != target
    ]


def serves(name: str) -> Callable[[Path], list[str]]:
    """``current`` is that release."""

    def reached(root: Path) -> list[str]:
        current = root / "current"
        return [] if current.is_symlink() and current.readlink().name == name else [f"current is not {name}"]

    return reached


def nothing(root: Path) -> None:
    """An untouched host."""
    root.mkdir()


def switched(root: Path) -> None:
    """The first release is served; it judged itself, and something else lies in the second one's place."""
    root.mkdir()
    must(switch("one")(root))
    (root / "releases" / "one" / "verdict").write_text("good\n", encoding="utf-8")
    (root / "releases" / "two" / "instances" / "main").mkdir(parents=True)
    (root / "releases" / "two" / "instances" / "main" / "left").write_text("over\n", encoding="utf-8")


def both(root: Path) -> None:
    """The second release is served and the first one still lies there: going back."""
    switched(root)
    must(switch("two")(root))


SCENARIOS = (
    Scenario("fetch: the first model", releases, fetch(FIRST), proven, has(FIRST)),
    Scenario("fetch: the next revision", installed, fetch(SECOND), proven, has(FIRST, SECOND)),
    Scenario("fetch: after a kill", interrupted(fetch(SECOND)), fetch(SECOND), proven, has(FIRST, SECOND)),
    Scenario("fetch: mending", damaged, fetch(FIRST), lambda root: [], has(FIRST)),
    Scenario("import: a folder", releases, fetch(FIRST, "--from", "ROOT/carried-a"), proven, has(FIRST)),
    Scenario("import: a bundle", bundled(".tar"), bring(".tar"), proven, has(FIRST)),
    Scenario("import: a bundle's folder", bundled(""), bring(""), proven, has(FIRST)),
    Scenario("gc", crowded, collect, kept, collected),
    Scenario("switch: the first release", nothing, switch("one"), whole, serves("one")),
    Scenario("switch: the next release", switched, switch("two"), whole, serves("two")),
    Scenario("switch: going back", both, switch("one"), whole, serves("one")),
)
