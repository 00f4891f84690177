"""`voxtral-ops weights import`: install a bundle, after every byte of it was compared with the release."""

# ruff: noqa: N999 - the table of actions finds a file by the word that people type

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from voxtral_ops.cli.main import program_name
from voxtral_ops.cli.output import emit, say
from voxtral_ops.cli.release import describe, load_release
from voxtral_ops.weights import WeightsStore
from voxtral_ops.weights.bundle import accept, agree
from voxtral_ops.weights.carry import import_bundle, open_bundle

if TYPE_CHECKING:
    from voxtral_ops.weights.bundle import BundleReader

SUMMARY = "install a bundle, compared with the release byte by byte"
EXAMPLES = """examples:
  voxtral-ops weights import site.tar                             what it holds; nothing is installed
  voxtral-ops weights import site.tar --release release.yml       exactly what this release names
  voxtral-ops weights import site.tar --accept FINGERPRINT        what `weights export` printed when it made the bundle
  voxtral-ops weights import site.tar --release release.yml --wheels /srv/voxtral/wheels
  ssh host voxtral-ops weights export - mini-3b | voxtral-ops weights import - --release release.yml
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Say what comes in, and why it is to be believed."""
    parser.add_argument("bundle", metavar="BUNDLE", help="a .tar file, a folder, or - for a pipe")
    trust = parser.add_mutually_exclusive_group()
    trust.add_argument("--release", type=Path, metavar="FILE", help="the site's own release; the bundle must agree")
    trust.add_argument("--accept", metavar="FINGERPRINT", help="the 64 digits that `weights export` printed")
    parser.add_argument("--older", action="store_true", help="also a revision older than one that is installed")
    parser.add_argument("--wheels", type=Path, metavar="DIR", help="unpack the bundle's packages there")


def run(args: argparse.Namespace, store: WeightsStore) -> int:
    """Install what was agreed to; without an agreement only say what is inside, and return 1."""
    place, name = (sys.stdin.buffer, "the pipe") if args.bundle == "-" else (Path(args.bundle), args.bundle)
    reader = open_bundle(place, name)
    if args.release:
        agree(reader.bundle, load_release(args.release), reader.name)
    elif args.accept:
        accept(reader, args.accept)
    else:
        return _show(args, reader)
    done = import_bundle(store, reader, args.wheels, older=args.older)
    lines = [
        f"{model}: {'imported into' if model in done.changed else 'already in'} {path}"
        for model, path in done.models.items()
    ]
    lines += [f"packages: in {done.wheels}"] if done.wheels else []
    if reader.bundle.voxtral_bundle.wheels and not args.wheels:
        say("the bundle holds packages as well; --wheels DIR unpacks them")
    emit(args, {**done.model_dump(mode="json"), "changed": bool(done.changed)}, "\n".join(lines))
    return 0


def _show(args: argparse.Namespace, reader: BundleReader) -> int:
    wheels = reader.bundle.voxtral_bundle.wheels
    lines = [describe(reader.bundle.voxtral_release)]
    if wheels:
        lines.append(f"{len(wheels.files)} packages for {wheels.build}, Python {wheels.python}, {wheels.machine}")
    lines.append(f"fingerprint {reader.fingerprint}")
    data = {"fingerprint": reader.fingerprint, **reader.bundle.model_dump(mode="json")}
    emit(args, data, "\n".join(lines))
    say(
        "nothing was installed: a bundle is not believed by itself. Compare the fingerprint with the one that "
        f"`weights export` printed, then: {program_name()} weights import {args.bundle} --accept FINGERPRINT; "
        "or name the site's release with --release FILE"
    )
    return 1
