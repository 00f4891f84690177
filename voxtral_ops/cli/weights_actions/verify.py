"""`voxtral-ops weights verify`: compare what is on disk with its hashes, without a hub, and mend what is wrong."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from voxtral_ops.catalog import catalog_model
from voxtral_ops.cli.output import emit
from voxtral_ops.cli.release import load_release
from voxtral_ops.cli.weights_actions.bar import watching
from voxtral_ops.cli.weights_actions.users import rate
from voxtral_ops.errors import ConfigurationError
from voxtral_ops.release import ReleaseModel
from voxtral_ops.weights import (
    WHISPER,
    Verification,
    WeightsStore,
    install_whisper,
    source_for,
    verify_whisper,
    whisper_path,
)

SUMMARY = "compare files with their hashes"
EXAMPLES = """examples:
  voxtral-ops weights verify                         everything installed; free where nothing changed
  voxtral-ops weights verify mini-3b --deep          read every byte, whatever the files' stamps say
  voxtral-ops weights verify --release release.yml   compare with this manifest instead of their own
  voxtral-ops weights verify --deep --mend           and fetch what is wrong, no more than that
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add what only this action has."""
    parser.add_argument("names", nargs="*", metavar="MODEL", help="all that are installed, if left out")
    parser.add_argument("--release", type=Path, metavar="FILE", help="compare with this manifest instead of their own")
    parser.add_argument("--deep", action="store_true", help="read every byte, whatever the files' stamps say")
    parser.add_argument("--mend", action="store_true", help="fetch again what is wrong")
    parser.add_argument("--from", dest="source", type=Path, metavar="DIR", help="mend from here instead of the hub")
    parser.add_argument("--limit", type=rate, metavar="RATE", help="mend with so many bytes a second, as 20M")


@dataclass(frozen=True)
class _Checked:
    """What one model's files are like; ``model`` is None for the fallback's."""

    title: str
    result: Verification
    model: ReleaseModel | None = None


def run(args: argparse.Namespace, store: WeightsStore) -> int:
    """Return 1 where a file is wrong and was not mended."""
    from voxtral_ops.cli.main import program_name  # noqa: PLC0415

    checked = list(_checked(args, store))
    mended = [each.title for each in checked if args.mend and not each.result.ok and _mend(args, store, each)]
    lines = []
    for each in checked:
        says = "every file is right" if each.result.ok else "mended" if each.title in mended else "WRONG"
        lines.append(f"{each.title}: {says} in {each.result.directory}")
        lines += [f"  {problem.path} {problem.problem}" for problem in each.result.problems]
    wrong = [each for each in checked if not each.result.ok and each.title not in mended]
    if wrong:
        lines.append(f"{program_name()} weights verify --mend fetches what is wrong")
    models = {each.title: each.result.model_dump(mode="json") for each in checked}
    emit(
        args,
        {"ok": not wrong, "mended": mended, "models": models},
        "\n".join(lines) or f"no models in {store.root}",
    )
    return 1 if wrong else 0


def _checked(args: argparse.Namespace, store: WeightsStore) -> Iterator[_Checked]:
    models = load_release(args.release).models if args.release else store.models()
    wanted = [catalog_model(name).name if name != WHISPER else name for name in args.names]
    for name in wanted:
        if name not in {WHISPER, *(model.name for model in models)}:
            raise ConfigurationError(
                f"{args.release or store.root} has no {name}", hint="`voxtral-ops weights list` names what is here"
            )
    for model in models:
        if not wanted or model.name in wanted:
            result = store.verify(model, deep=args.deep)
            yield _Checked(f"{model.name} {model.revision[:12]}", result, model)
    if WHISPER in wanted or (not wanted and whisper_path(store.root).is_dir()):
        yield _Checked(WHISPER, verify_whisper(store.root, deep=args.deep))


def _mend(args: argparse.Namespace, store: WeightsStore, wrong: _Checked) -> bool:
    if wrong.model is None:
        return install_whisper(store.root, args.source)
    with watching(wrong.title) as watch:
        return store.install(wrong.model, source_for(wrong.model, args.source), limit=args.limit, watch=watch)
