"""A manifest says where files go and what they are: one that could do harm is refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from voxtral_ops.errors import ConfigurationError
from voxtral_ops.release import Release, ReleaseModel, parse_release, release_id
from voxtral_ops.weights import is_older

FILE = {"path": "a.bin", "size": 1, "sha256": "0" * 64}


def written(**changes: Any) -> dict[str, Any]:
    model = {"name": "mini-3b", "repository": "owner/model", "revision": "b" * 40, "files": [FILE], **changes}
    return {"engine": "0.32.0", "models": [model]}


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"repository": "../../etc"}, "repository"),
        ({"repository": "owner/.."}, "repository"),
        ({"repository": "owner/a/b"}, "repository"),
        ({"repository": "/owner"}, "repository"),
        ({"repository": "owner/model\n"}, "repository"),
        ({"revision": "main"}, "revision"),
        ({"revision": "../" + "b" * 37}, "revision"),
        ({"published": "yesterday"}, "published"),
        ({"published": "2026-01-01T00:00:00"}, "published"),
        ({"files": []}, "files"),
        ({"files": [FILE, FILE]}, "files"),
        ({"files": [FILE, {**FILE, "path": "a.bin/b"}]}, "files"),
        *(
            ({"files": [{**FILE, "path": path}]}, "files.0.path")
            for path in ("", "/etc/passwd", "../x", "a/../../x", "a//b", "a\\b", "./a", "a\nb", "a\0b")
        ),
        *(
            ({"files": [{**FILE, "path": path}]}, "files.0.path")
            for path in ("manifest.json", ".verified.json", ".ranges.json", ".journal.json", ".x/y")
        ),
        ({"files": [{**FILE, "sha256": "0" * 63}]}, "files.0.sha256"),
        ({"files": [{**FILE, "size": -1}]}, "files.0.size"),
        ({"files": [{**FILE, "url": "http://elsewhere/"}]}, "files.0.url"),
    ],
)
def test_what_could_do_harm_is_refused(changes: dict[str, Any], where: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^release\.yml: models\.0\." + where.replace(".", r"\.")) as caught:
        parse_release(written(**changes))
    assert "release lock" in caught.value.hint


def test_folders_in_a_repository_are_fine() -> None:
    files = [{**FILE, "path": path} for path in ("a/b.bin", "a/c.bin", "a.bin")]
    assert len(parse_release(written(files=files)).models[0].files) == 3


def test_a_release_without_dates_keeps_its_name() -> None:
    # Releases that are on hosts already were named before a model knew when it was published.
    plain = parse_release(written())
    assert release_id(plain) == release_id(Release.model_validate_json(plain.model_dump_json(exclude_none=True)))
    assert release_id(plain) == "0.32.0-mini-3b-f55b0f27"


def test_older_is_what_the_hub_published_before() -> None:
    def model(published: str | None) -> ReleaseModel:
        return parse_release(written(published=published)).models[0]

    assert is_older(model("2026-01-01T00:00:00Z"), model("2026-01-01T00:00:01Z"))
    assert not is_older(model("2026-01-01T00:00:00Z"), model("2026-01-01T00:00:00Z"))
    assert not is_older(model(None), model("2026-01-01T00:00:00Z"))
    assert not is_older(model("2026-01-01T00:00:00Z"), model(None))
