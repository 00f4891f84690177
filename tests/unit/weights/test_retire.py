"""What is needed stays, whatever is asked; what nobody needs goes, wholly, and a crash in between leaves no half."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from voxtral_ops.errors import ReleaseError
from voxtral_ops.paths import Layout
from voxtral_ops.release import ReleaseModel
from voxtral_ops.weights import DirectorySource, WeightsStore
from voxtral_ops.weights.locks import alone, beside
from voxtral_ops.weights.retire import (
    Decision,
    Held,
    NamedRelease,
    Needs,
    collect,
    decide,
    find_needs,
    remove_model,
    survey,
)


@pytest.fixture
def layout(tmp_path: Path, store: WeightsStore) -> Layout:
    names = {name: tmp_path / name for name in ("home", "config", "state", "cache", "runtime")}
    return Layout(scope="user", models=store.root, **names)


def revision(digit: str) -> str:
    return digit * 40


def install(store: WeightsStore, model: ReleaseModel, folder: Path, digit: str) -> ReleaseModel:
    # Without its date: these tests are not about going back.
    other = model.model_copy(update={"revision": revision(digit), "published": None})
    store.install(other, DirectorySource(folder))
    return other


def write_release(layout: Layout, name: str, model: ReleaseModel, *, age: float = 0.0, link: bool = True) -> Path:
    place = layout.releases / name
    instance = place / "instances" / "main"
    instance.mkdir(parents=True)
    if link:
        (instance / "model").symlink_to(layout.models / model.directory)
    plan = {"instances": [{"repository": model.repository, "revision": model.revision}]}
    (place / "plan.json").write_text(json.dumps(plan))
    moment = time.time() - age
    os.utime(place / "plan.json", (moment, moment))
    return place


def switch(layout: Layout, place: Path) -> None:
    layout.current.unlink(missing_ok=True)
    layout.current.symlink_to(place)


@pytest.fixture
def history(store: WeightsStore, model: ReleaseModel, folder: Path, layout: Layout) -> dict[str, ReleaseModel]:
    """Three releases, the second newest being current, and a model that none of them names."""
    models = {digit: install(store, model, folder, digit) for digit in "abcd"}
    write_release(layout, "oldest", models["a"], age=300)
    switch(layout, write_release(layout, "middle", models["b"], age=200))
    write_release(layout, "newest", models["c"], age=100)
    return models


def here(store: WeightsStore) -> set[str]:
    return {model.revision[0] for model in store.models()}


def gone(decisions: tuple[Decision, ...]) -> set[str]:
    return {each.held.directory[-1] for each in decisions if each.remove and each.held.kind == "model"}


def look(layout: Layout, running: tuple[Path, ...] = ()) -> Needs:
    return find_needs(layout, layout.models, running)


def test_every_listed_release_keeps_its_model(
    history: dict[str, ReleaseModel], store: WeightsStore, layout: Layout
) -> None:
    decisions, busy = collect(store.root, lambda: look(layout), grace=0)
    assert (gone(decisions), busy, here(store)) == ({"d"}, (), {"a", "b", "c"})


def test_keeping_two_releases_keeps_current_and_the_newest_other(
    history: dict[str, ReleaseModel], store: WeightsStore, layout: Layout
) -> None:
    collect(store.root, lambda: look(layout), keep_releases=2, grace=0)
    assert here(store) == {"b", "c"}


@pytest.mark.parametrize("number", [1, 0, -3])
def test_fewer_than_two_releases_leave_no_way_back(
    number: int, history: dict[str, ReleaseModel], store: WeightsStore, layout: Layout
) -> None:
    with pytest.raises(ReleaseError, match="no way back"):
        collect(store.root, lambda: look(layout), keep_releases=number, grace=0)
    assert here(store) == {"a", "b", "c", "d"}


def test_what_a_running_server_has_open_stays_even_if_no_release_counts(
    history: dict[str, ReleaseModel], store: WeightsStore, layout: Layout
) -> None:
    running = (layout.releases / "oldest" / "instances" / "main",)
    decisions, _ = collect(store.root, lambda: look(layout, running), keep_releases=2, grace=0)
    assert here(store) == {"a", "b", "c"}
    assert "a running server has it open" in {each.reason for each in decisions}


def test_a_young_model_waits_for_its_release(
    history: dict[str, ReleaseModel], store: WeightsStore, layout: Layout
) -> None:
    decisions, _ = collect(store.root, lambda: look(layout))
    assert here(store) == {"a", "b", "c", "d"}
    assert any("its release may be on the way" in each.reason for each in decisions)


def test_looking_changes_nothing(history: dict[str, ReleaseModel], store: WeightsStore, layout: Layout) -> None:
    before = sorted(store.root.rglob("*"))
    needs = look(layout)
    assert gone(decide(survey(store.root, needs), needs, grace=0)) == {"d"}
    assert sorted(store.root.rglob("*")) == before


def test_a_release_that_cannot_be_read_stops_everything(
    history: dict[str, ReleaseModel], store: WeightsStore, layout: Layout
) -> None:
    (layout.releases / "oldest" / "plan.json").write_text("{")
    with pytest.raises(ReleaseError, match=r"oldest/plan\.json cannot be read"):
        collect(store.root, lambda: look(layout), grace=0)
    assert here(store) == {"a", "b", "c", "d"}


def test_a_release_without_its_links_yet_counts_by_its_plan(
    store: WeightsStore, model: ReleaseModel, folder: Path, layout: Layout
) -> None:
    write_release(layout, "half", install(store, model, folder, "a"), link=False)
    collect(store.root, lambda: look(layout), grace=0)
    assert here(store) == {"a"}


def test_a_release_that_appears_meanwhile_keeps_its_model(
    history: dict[str, ReleaseModel], store: WeightsStore, layout: Layout
) -> None:
    looks = 0

    def changing() -> Needs:
        nonlocal looks
        looks += 1
        if looks == 2:  # after the decision, before the removal
            write_release(layout, "brand-new", history["d"])
        return look(layout)

    collect(store.root, changing, grace=0)
    assert here(store) == {"a", "b", "c", "d"}


def test_what_somebody_works_on_is_left_alone_and_said(
    history: dict[str, ReleaseModel], store: WeightsStore, layout: Layout
) -> None:
    with alone(store.path(history["d"])):
        _, busy = collect(store.root, lambda: look(layout), grace=0)
        assert "another process" in busy[0]
    assert here(store) == {"a", "b", "c", "d"}


def test_partials_leftovers_and_locks(history: dict[str, ReleaseModel], store: WeightsStore, layout: Layout) -> None:
    parent = store.path(history["a"]).parent
    unwanted, wanted = parent / f".{revision('e')}.partial", parent / f".{revision('a')}.partial"
    for folder in (unwanted, wanted, parent / f".{revision('f')}.trash", parent / f".{revision('f')}.old"):
        folder.mkdir()
        (folder / "consolidated.safetensors").write_bytes(b"x" * 10_000)
    (parent / f".{revision('0')}.lock").touch()
    (parent / revision("9")).mkdir()  # no manifest: nothing that a reader would take
    (parent / "notes.txt").write_text("the operator's own")
    collect(store.root, lambda: look(layout), grace=0)
    left = {path.name for path in parent.iterdir()}
    assert left == {*(revision(digit) for digit in "abc"), wanted.name, "notes.txt"}


def test_the_fallback_stays_and_its_package_goes(store: WeightsStore, layout: Layout) -> None:
    whisper = store.root / "whisper"
    (whisper / "tiny.en").mkdir(parents=True)
    (whisper / "tiny.en" / "manifest.json").write_text("{}")
    (whisper / ".package" / "data").mkdir(parents=True)
    collect(store.root, lambda: look(layout), grace=0)
    assert [path.name for path in whisper.iterdir()] == ["tiny.en"]


def test_the_last_model_takes_its_empty_folders_with_it(
    store: WeightsStore, model: ReleaseModel, folder: Path, layout: Layout
) -> None:
    install(store, model, folder, "a")
    collect(store.root, lambda: look(layout), grace=0)
    assert list(store.root.iterdir()) == []


def test_how_far_a_partial_is(store: WeightsStore, model: ReleaseModel, folder: Path, layout: Layout) -> None:
    (folder / "params.json").unlink()
    with pytest.raises(ReleaseError, match=r"params\.json"):
        store.install(model, DirectorySource(folder))
    (held,) = survey(store.root, look(layout))
    assert (held.kind, held.model, held.total) == ("partial", "mini-3b", model.size)
    assert model.files[0].size <= held.bytes < model.size + 8192


def test_remove_refuses_what_is_needed_and_takes_the_rest(
    history: dict[str, ReleaseModel], store: WeightsStore, layout: Layout
) -> None:
    def now() -> Needs:
        return look(layout, (layout.releases / "middle" / "instances" / "main",))

    with pytest.raises(ReleaseError, match="is needed by"):
        remove_model(store.root, now, "mini-3b")
    assert here(store) == {"a", "b", "c", "d"}
    assert [held.directory[-1] for held in remove_model(store.root, now, "mini-3b", "dddd")] == ["d"]
    assert [held.directory[-1] for held in remove_model(store.root, now, "mini-3b", "a", force=True)] == ["a"]
    with pytest.raises(ReleaseError, match="running server") as caught:
        remove_model(store.root, now, "mini-3b", "b", force=True)
    assert "stop the server" in caught.value.hint
    assert remove_model(store.root, now, "small-24b") == ()
    assert here(store) == {"b", "c"}


def test_remove_takes_a_partial_by_the_models_name(store: WeightsStore, model: ReleaseModel, layout: Layout) -> None:
    partial = beside(store.path(model), "partial")
    partial.mkdir(parents=True)
    assert len(remove_model(store.root, lambda: look(layout), "mini-3b")) == 1
    assert not partial.exists()


def _collect_and_die(root: Path, layout: Layout, calls: int) -> None:
    """Collect in a process that is killed at one of its calls that change something."""
    seen = 0

    def counting(event: str, _: object) -> None:
        nonlocal seen
        if event in {"os.rename", "os.remove", "os.rmdir", "shutil.rmtree"}:
            seen += 1
            if seen > calls:
                os.kill(os.getpid(), signal.SIGKILL)

    import sys

    sys.addaudithook(counting)
    collect(root, lambda: find_needs(layout, root), grace=0)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
@pytest.mark.parametrize("calls", range(0, 16, 2))
def test_a_kill_anywhere_leaves_each_model_whole_or_gone_and_the_next_run_converges(
    calls: int, history: dict[str, ReleaseModel], store: WeightsStore, layout: Layout
) -> None:
    process = multiprocessing.get_context("fork").Process(target=_collect_and_die, args=(store.root, layout, calls))
    process.start()
    process.join()
    assert calls > 10 or process.exitcode == -signal.SIGKILL
    assert all(store.verify(model, deep=True).ok for model in store.models())
    assert {"a", "b", "c"} <= here(store)
    collect(store.root, lambda: look(layout), grace=0)
    assert here(store) == {"a", "b", "c"}
    parent = store.path(history["a"]).parent
    assert {path.name for path in parent.iterdir()} == {revision(digit) for digit in "abc"}


directories = st.sampled_from([f"mistralai/Voxtral/{revision(digit)}" for digit in "abcdef"])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    held=st.lists(
        st.builds(
            Held,
            path=st.just(Path("/x")),
            directory=directories,
            kind=st.sampled_from(["model", "unproven", "partial", "leftover", "lock"]),
            age=st.floats(-1e6, 1e6),
        )
    ),
    releases=st.lists(
        st.builds(NamedRelease, id=st.text("abc", min_size=1), current=st.booleans(), models=st.frozensets(directories))
    ),
    served=st.frozensets(directories),
    keep=st.none() | st.integers(2, 5),
)
def test_nothing_that_is_needed_ever_goes(
    held: list[Held], releases: list[NamedRelease], served: frozenset[str], keep: int | None
) -> None:
    needs = Needs(releases=tuple(releases), served=served)
    decisions = decide(held, needs, keep_releases=keep, grace=0)
    assert [each.held for each in decisions] == held
    current = {name for release in releases if release.current for name in release.models}
    first_current = next((release.models for release in releases if release.current), frozenset())
    for each in decisions:
        assert each.reason
        if each.remove and each.held.kind in {"model", "unproven", "partial"}:
            assert each.held.directory not in served | first_current
            if keep is None:
                assert each.held.directory not in current


def test_a_store_that_is_not_there_is_empty(tmp_path: Path, layout: Layout) -> None:
    shutil.rmtree(tmp_path / "models", ignore_errors=True)
    assert survey(tmp_path / "models", look(layout)) == ()
    assert collect(tmp_path / "models", lambda: look(layout)) == ((), ())
