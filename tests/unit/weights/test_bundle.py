"""Bundles: what goes in comes out; everything that is not exactly as the list says is refused by name."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from voxtral_ops.errors import HostError, ReleaseError
from voxtral_ops.release import Release, ReleaseFile, ReleaseModel
from voxtral_ops.weights import DirectorySource, WeightsStore
from voxtral_ops.weights.bundle import HEAD, Bundle, Wheels, accept, agree
from voxtral_ops.weights.carriers import write_bundle, write_tar
from voxtral_ops.weights.carry import export_bundle, gather, import_bundle, open_bundle
from voxtral_ops.weights.journal import Journal

Member = tuple[tarfile.TarInfo, bytes]


@pytest.fixture
def release(model: ReleaseModel) -> Release:
    return Release(engine="0.32.0", models=(model,))


@pytest.fixture
def bundle(store: WeightsStore, release: Release, folder: Path) -> Bundle:
    store.install(release.models[0], DirectorySource(folder))
    return gather(store, release)


@pytest.fixture
def tar(store: WeightsStore, bundle: Bundle, tmp_path: Path) -> Path:
    export_bundle(store, bundle, tmp_path / "site.tar")
    return tmp_path / "site.tar"


@pytest.fixture
def site(tmp_path: Path) -> WeightsStore:
    """The store of a machine without a hub."""
    return WeightsStore(tmp_path / "site")


def unpacked(tar: Path) -> list[Member]:
    with tarfile.open(tar) as archive:
        return [(info, archive.extractfile(info).read()) for info in archive]  # type: ignore[union-attr]


def packed(members: list[Member], path: Path) -> Path:
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return path


def plain(name: str, data: bytes) -> Member:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    return info, data


def special(name: str, kind: bytes, target: str = "") -> Member:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, b""


def left_behind(site: WeightsStore) -> list[Path]:
    """Files that an import left where models are read from."""
    return [path for path in site.root.rglob("*") if path.is_file() and ".partial" not in str(path)]


@pytest.mark.parametrize("name", ["again.tar", "again"])
def test_what_goes_in_comes_out(
    name: str, store: WeightsStore, bundle: Bundle, site: WeightsStore, tmp_path: Path
) -> None:
    export_bundle(store, bundle, tmp_path / name)
    reader = open_bundle(tmp_path / name, name)
    assert reader.bundle == bundle
    assert reader.fingerprint == bundle.fingerprint
    model = bundle.voxtral_release.models[0]
    assert import_bundle(site, reader).changed == (model.name,)
    assert site.verify(model, deep=True).ok
    again = import_bundle(site, open_bundle(tmp_path / name, name))
    assert again.changed == ()
    assert again.models == {model.name: site.path(model)}


def test_the_same_contents_are_the_same_bytes(store: WeightsStore, bundle: Bundle) -> None:
    first, second = io.BytesIO(), io.BytesIO()
    export_bundle(store, bundle, first)
    export_bundle(store, bundle, second)
    assert first.getvalue() == second.getvalue()


def test_a_plain_tar_reads_it(tar: Path, bundle: Bundle) -> None:
    names = [info.name for info, _ in unpacked(tar)]
    assert names == [HEAD, *(file.path for file in bundle.members)]


def test_bundle_json_is_a_release_for_an_inventory(tar: Path, release: Release, tmp_path: Path) -> None:
    from voxtral_ops.cli.release import load_release

    (tmp_path / HEAD).write_bytes(unpacked(tar)[0][1])
    raw = load_release(tmp_path / HEAD)
    assert raw == release


def test_an_export_of_what_is_not_here_is_refused(store: WeightsStore, release: Release) -> None:
    with pytest.raises(ReleaseError, match="cannot be exported") as caught:
        gather(store, release)
    assert "weights fetch mini-3b" in caught.value.hint


def test_bytes_that_changed_since_they_were_verified_are_not_exported(
    store: WeightsStore, bundle: Bundle, tmp_path: Path
) -> None:
    file = store.path(bundle.voxtral_release.models[0]) / "tekken.json"
    file.chmod(0o600)
    file.write_bytes(b"y" * file.stat().st_size)
    for name in ("bad.tar", "bad"):
        with pytest.raises(ReleaseError, match=r"tekken\.json is not what the release names"):
            export_bundle(store, bundle, tmp_path / name)
        assert not (tmp_path / name).exists()
        assert not (tmp_path / f".{name}.partial").exists()


@pytest.mark.parametrize("name", ["site.tar", "there"])
def test_an_export_never_replaces_anything(name: str, store: WeightsStore, bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / name).write_text("somebody's")
    with pytest.raises(HostError, match="exists already"):
        export_bundle(store, bundle, tmp_path / name)
    assert (tmp_path / name).read_text() == "somebody's"


def test_an_export_to_a_disk_that_is_too_small(
    store: WeightsStore, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from voxtral_ops.weights import carriers

    monkeypatch.setattr(carriers, "MARGIN", 1 << 60)
    with pytest.raises(HostError, match="bytes free"):
        export_bundle(store, bundle, tmp_path / "big.tar")
    assert not (tmp_path / ".big.tar.partial").exists()


def test_a_disk_that_fills_up_under_an_export_leaves_nothing(
    store: WeightsStore, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from voxtral_ops.weights import carriers

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "x.tar"))

    monkeypatch.setattr(carriers, "write_tar", full)
    with pytest.raises(HostError, match="No space left") as caught:
        export_bundle(store, bundle, tmp_path / "x.tar")
    assert caught.value.hint
    assert not list(tmp_path.glob(".x.tar*"))
    with pytest.raises(HostError, match="is no folder"):
        export_bundle(store, bundle, tmp_path / "nowhere" / "x.tar")


def test_a_bundle_agrees_with_the_release_or_is_refused(bundle: Bundle, release: Release) -> None:
    model = release.models[0]
    agree(bundle, release, "b")
    other_file = model.files[0].model_copy(update={"sha256": "0" * 64})
    for changed, words in (
        ({"revision": "c" * 40}, "is at bbbb"),
        ({"files": (other_file, *model.files[1:])}, "files of mini-3b"),
        ({"repository": "evil/twin"}, "does not name"),
        ({"name": "another"}, "does not name"),
    ):
        with pytest.raises(ReleaseError, match=words):
            agree(bundle, Release(engine="0.32.0", models=(model.model_copy(update=changed),)), "b")
    with pytest.raises(ReleaseError, match="does not hold nano"):
        agree(bundle, release, "b", frozenset({"nano"}))


def test_a_fingerprint_is_accepted_whole_or_not(tar: Path, bundle: Bundle) -> None:
    accept(open_bundle(tar, "b"), bundle.fingerprint)
    for wrong in (bundle.fingerprint[:16], "0" * 64, ""):
        with pytest.raises(ReleaseError, match="has the fingerprint"):
            accept(open_bundle(tar, "b"), wrong)


def insert(position: int, member: Member) -> Callable[[list[Member]], list[Member]]:
    return lambda members: [*members[:position], member, *members[position:]]


def replace(position: int, member: Member) -> Callable[[list[Member]], list[Member]]:
    return lambda members: [*members[:position], member, *members[position + 1 :]]


FIRST = "models/mini-3b/consolidated.safetensors"
ATTACKS: dict[str, tuple[Callable[[list[Member]], list[Member]], str]] = {
    "a symbolic link": (insert(1, special(FIRST, tarfile.SYMTYPE, "/etc/passwd")), "a symbolic link"),
    "a hard link": (insert(1, special(FIRST, tarfile.LNKTYPE, "/etc/passwd")), "a hard link"),
    "a device": (insert(1, special(FIRST, tarfile.CHRTYPE)), "a device"),
    "a pipe": (insert(1, special(FIRST, tarfile.FIFOTYPE)), "a pipe"),
    "a folder": (insert(1, special("models", tarfile.DIRTYPE)), "a folder"),
    "a sparse file": (insert(1, special(FIRST, tarfile.GNUTYPE_SPARSE)), "never hold"),
    "an extended header": (insert(1, special("x", tarfile.XHDTYPE)), "never hold"),
    "an absolute name": (insert(1, plain("/etc/cron.d/x", b"evil")), "leads out"),
    "a way up": (insert(1, plain("models/../../../etc/x", b"evil")), "leads out"),
    "a name of its own": (insert(1, plain("models/mini-3b/extra.safetensors", b"evil")), "not named in"),
    "an extra at the end": (lambda members: [*members, plain("models/x", b"evil")], "not named in"),
    "a file twice": (lambda members: [*members[:2], members[1], *members[2:]], "there twice"),
    "another order": (lambda members: [members[0], members[2], members[1], *members[3:]], "stands where"),
    "a file left out": (lambda members: [members[0], *members[2:]], "stands where"),
    "the last left out": (lambda members: members[:-1], "cut short"),
    "only the list": (lambda members: members[:1], "cut short"),
    "another size": (replace(1, plain(FIRST, b"short")), "5 bytes"),
    "other bytes": (replace(1, plain(FIRST, b"\0" * 102400)), "has sha256"),
    "no list": (lambda members: members[1:], "is not a bundle"),
    "nothing": (lambda members: [], "is not a bundle"),
    "a list that is none": (replace(0, plain(HEAD, b"{}")), "is not a list of ours"),
    "an endless list": (replace(0, plain(HEAD, b" " * (5 << 20))), "no list is longer"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_tampered_tar_is_refused_and_nothing_appears(
    attack: str, tar: Path, site: WeightsStore, tmp_path: Path
) -> None:
    change, words = ATTACKS[attack]
    evil = packed(change(unpacked(tar)), tmp_path / "evil.tar")
    with pytest.raises(ReleaseError, match=words) as caught:
        import_bundle(site, open_bundle(evil, "evil.tar"))
    assert caught.value.hint
    # What stands behind the last file is found when that is proven already: only then may the model be there.
    if attack != "an extra at the end":
        assert left_behind(site) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("repository", "../../etc"),
        ("repository", "/etc/cron.d"),
        ("revision", "../" * 13 + "x"),
    ],
)
def test_a_list_whose_places_lead_out_is_refused(field: str, value: str, tar: Path, tmp_path: Path) -> None:
    import json

    members = unpacked(tar)
    raw = json.loads(members[0][1])
    raw["voxtral_release"]["models"][0][field] = value
    evil = packed([plain(HEAD, json.dumps(raw).encode()), *members[1:]], tmp_path / "evil.tar")
    with pytest.raises(ReleaseError, match="is not a list of ours"):
        open_bundle(evil, "evil.tar")


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", ".hidden", "manifest.json"])
def test_a_list_whose_files_lead_out_is_refused(name: str, tar: Path, tmp_path: Path) -> None:
    members = unpacked(tar)
    text = members[0][1].replace(b'"tekken.json"', f'"{name}"'.encode())
    evil = packed([plain(HEAD, text), *members[1:]], tmp_path / "evil.tar")
    with pytest.raises(ReleaseError, match="is not a list of ours"):
        open_bundle(evil, "evil.tar")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_tar_that_is_cut_anywhere_is_refused(data: st.DataObject, tar: Path, tmp_path: Path) -> None:
    whole = tar.read_bytes()
    end = sum(512 + -(-info.size // 512) * 512 for info, _ in unpacked(tar))
    cut = data.draw(st.integers(0, end - 513))
    short = WeightsStore(tmp_path / f"cut{cut}")
    with pytest.raises(ReleaseError):
        import_bundle(short, open_bundle(io.BytesIO(whole[:cut]), "the pipe"))
    assert left_behind(short) == []


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_byte_that_changes_anywhere_changes_nothing_that_is_installed(
    data: st.DataObject, tar: Path, release: Release, tmp_path: Path
) -> None:
    whole = bytearray(tar.read_bytes())
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    site, model = WeightsStore(tmp_path / f"flip{at}-{whole[at]}"), release.models[0]
    try:
        reader = open_bundle(io.BytesIO(bytes(whole)), "the pipe")
        agree(reader.bundle, release, "the pipe")
        import_bundle(site, reader)
    except ReleaseError:
        pass  # it was noticed; what was proven before may be there
    assert not site.path(model).exists() or site.verify(model, deep=True).ok


def test_long_names_without_end_are_refused() -> None:
    chain = b""
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 10
    chain = (info.tobuf(tarfile.GNU_FORMAT) + b"x" * 512) * 3000
    with pytest.raises(ReleaseError, match="no tar"):
        open_bundle(io.BytesIO(chain), "the pipe")


def test_a_long_name_that_claims_gigabytes_is_refused_unread() -> None:
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 8 << 30
    with pytest.raises(ReleaseError, match="never hold"):
        open_bundle(io.BytesIO(info.tobuf(tarfile.GNU_FORMAT)), "the pipe")


@pytest.mark.parametrize("noise", [b"", b"no tar at all", os.urandom(4096), b"\0" * 4096])
def test_what_is_no_tar_is_said_to_be_none(noise: bytes) -> None:
    with pytest.raises(ReleaseError, match=r"no tar|is not a bundle"):
        open_bundle(io.BytesIO(noise), "the pipe")


def as_folder(store: WeightsStore, bundle: Bundle, tmp_path: Path) -> Path:
    place = tmp_path / "folder"
    export_bundle(store, bundle, place)
    return place


def to_link(path: Path) -> None:
    aside = path.with_name("aside")
    path.rename(aside)
    path.symlink_to(aside)


def to_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda place: to_link(place / FIRST), "is a link"),
        (lambda place: to_link((place / FIRST).parent), "is a link"),
        (lambda place: to_pipe(place / FIRST), "no plain file"),
        (lambda place: (place / FIRST).unlink(), "stands where"),
        (lambda place: (place / "models/extra").write_text("x"), "not named in"),
        (lambda place: (place / "models/link").symlink_to("/etc"), "is a link"),
        (lambda place: (place / FIRST).write_bytes(b"short"), "5 bytes"),
        (lambda place: (place / FIRST).write_bytes(b"\0" * 102400), "has sha256"),
        (lambda place: (place / HEAD).unlink(), "has no bundle.json"),
    ],
)
def test_a_tampered_folder_is_refused(
    harm: Callable[[Path], object], words: str, store: WeightsStore, bundle: Bundle, site: WeightsStore, tmp_path: Path
) -> None:
    place = as_folder(store, bundle, tmp_path)
    harm(place)
    with pytest.raises(ReleaseError, match=words):
        import_bundle(site, open_bundle(place, str(place)))
    if "not named" not in words and "extra" not in words and not (place / "models/link").is_symlink():
        assert left_behind(site) == []


def test_only_some_of_a_bundle(store: WeightsStore, bundle: Bundle, site: WeightsStore, tar: Path) -> None:
    assert import_bundle(site, open_bundle(tar, "b"), only=frozenset()).models == {}
    assert left_behind(site) == []


def test_an_import_goes_on_with_what_an_interrupted_one_left(
    tar: Path, release: Release, site: WeightsStore, folder: Path
) -> None:
    model = release.models[0]
    partial = site.path(model).with_name(f".{model.revision}.partial")
    partial.mkdir(parents=True)
    journal = Journal(partial)
    journal.open()
    (partial / "consolidated.safetensors").write_bytes((folder / "consolidated.safetensors").read_bytes()[:70_001])
    journal.synced("consolidated.safetensors", 70_001)
    import_bundle(site, open_bundle(tar, "b"))
    assert site.verify(model, deep=True).ok
    assert not partial.exists()


def test_an_import_over_wrong_leftovers_converges_the_second_time(
    tar: Path, release: Release, site: WeightsStore
) -> None:
    model = release.models[0]
    partial = site.path(model).with_name(f".{model.revision}.partial")
    partial.mkdir(parents=True)
    journal = Journal(partial)
    journal.open()
    (partial / "consolidated.safetensors").write_bytes(b"?" * 70_001)
    journal.synced("consolidated.safetensors", 70_001)
    with pytest.raises(ReleaseError, match="gone by") as caught:
        import_bundle(site, open_bundle(tar, "b"))
    assert "import again" in caught.value.hint
    import_bundle(site, open_bundle(tar, "b"))
    assert site.verify(model, deep=True).ok


@pytest.fixture
def with_wheels(store: WeightsStore, bundle: Bundle, tmp_path: Path) -> Path:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    name = "a_package_with_a_long_name-1.0-cp311-cp311-" + "manylinux_2_17_x86_64.manylinux2014_x86_64." * 2 + "whl"
    (wheels / name).write_bytes(b"wheel" * 1000)
    digest = hashlib.sha256(b"wheel" * 1000).hexdigest()
    files = (ReleaseFile(path=name, size=5000, sha256=digest),)
    contents = bundle.voxtral_bundle.model_copy(
        update={"wheels": Wheels(build="cpu", python="3.11", machine="x86_64", files=files)}
    )
    whole = bundle.model_copy(update={"voxtral_bundle": contents})
    export_bundle(store, whole, tmp_path / "full.tar", wheels)
    return tmp_path / "full.tar"


def test_wheels_are_unpacked_where_they_are_asked_for(with_wheels: Path, site: WeightsStore, tmp_path: Path) -> None:
    place = tmp_path / "house"
    done = import_bundle(site, open_bundle(with_wheels, "b"), place)
    assert "wheels" in done.changed
    assert [path.read_bytes() for path in place.iterdir()] == [b"wheel" * 1000]
    assert import_bundle(site, open_bundle(with_wheels, "b"), place).changed == ()
    assert import_bundle(site, open_bundle(with_wheels, "b")).wheels is None


def test_a_wheel_with_other_bytes_does_not_appear(with_wheels: Path, site: WeightsStore, tmp_path: Path) -> None:
    members = unpacked(with_wheels)
    members[-1] = (members[-1][0], b"wheel" * 999 + b"weel!")
    with pytest.raises(ReleaseError, match="has sha256"):
        import_bundle(site, open_bundle(packed(members, tmp_path / "evil.tar"), "b"), tmp_path / "house")
    assert list((tmp_path / "house").iterdir()) == []


def test_a_wheel_in_a_folder_is_refused(with_wheels: Path, tmp_path: Path) -> None:
    members = unpacked(with_wheels)
    text = members[0][1].replace(b"a_package_with", b"sub/package_with")
    with pytest.raises(ReleaseError, match="lies in a folder"):
        open_bundle(packed([plain(HEAD, text), *members[1:]], tmp_path / "evil.tar"), "b")


def test_a_file_that_grows_while_it_is_exported_is_not_exported(
    store: WeightsStore, bundle: Bundle, folder: Path, tmp_path: Path
) -> None:
    (folder / "grown").write_bytes(b"x" * 100)
    file = ReleaseFile(path=bundle.members[0].path, size=50, sha256=hashlib.sha256(b"x" * 50).hexdigest())
    with pytest.raises(ReleaseError):
        write_bundle(tmp_path / "grown", bundle, [(file, folder / "grown")])
    assert not (tmp_path / "grown").exists()
    with pytest.raises(ReleaseError):
        write_tar(io.BytesIO(), bundle, [(file.model_copy(update={"sha256": "0" * 64}), folder / "grown")])
