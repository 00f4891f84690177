"""The hub, through huggingface_hub. HF_ENDPOINT and HF_TOKEN are honoured; every failure has its own message."""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from voxtral_ops.ansible_plugins.module_utils.voxtral_progress import report
from voxtral_ops.catalog import CatalogModel
from voxtral_ops.errors import (
    ConfigurationError,
    HostError,
    ModelError,
    NetworkError,
    ReleaseError,
    ServerError,
    VoxtralError,
)
from voxtral_ops.release import ReleaseFile, ReleaseModel, bundled_release_model
from voxtral_ops.weights.transport import Line, Reading, Remote, Wanted

OPTIONAL = frozenset({"config.json"})
"""vLLM serves Mistral's format without it."""
TIMEOUT = 10.0
LARGEST_PLAIN = 64 << 20
"""Hubs keep larger files apart and tell their sha256; these are taken into memory once."""
SHA256, COMMIT = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{40}")


class HubSource:
    """One revision of one repository of the hub."""

    def __init__(self, repository: str, revision: str) -> None:
        self.repository, self.revision = repository, revision
        self.name = f"{repository} on {endpoint()}"
        self._line = Line(self.name, self._look)
        self._asking = threading.Lock()
        self._asked = False

    @property
    def streams(self) -> int:
        """Several, as long as the hub gives ranges."""
        return self._line.streams

    def open(self, file: Wanted, start: int, stop: int) -> Reading:
        """Read a range of a file at this very revision."""
        with self._asking:
            if not self._asked:
                # Its answers say best what is wrong: gated, missing, or the token.
                with hub_errors(self.repository):
                    _api().model_info(self.repository, revision=self.revision, timeout=TIMEOUT)
                self._asked = True
        client = _client()
        url = client.hf_hub_url(self.repository, file.path, revision=self.revision, endpoint=endpoint())
        headers = client.utils.build_hf_headers(token=_token())
        return self._line.open(Remote(url, headers), file, start, stop)

    def _look(self, response: Any, file: Wanted) -> None:
        """Hold what the hub itself says of a file against the release, before its first byte."""
        if response.status_code in {401, 403, 404} and not response.history:
            answer = type(response)(response.status_code, headers=response.headers, request=response.request)
            with hub_errors(self.repository):
                _client().utils.hf_raise_for_status(answer)
        commit = response.headers.get("X-Repo-Commit", self.revision)
        told = response.headers.get("X-Linked-ETag", "").strip('"')
        expected = file.sha256 if isinstance(file, ReleaseFile) else told
        if commit != self.revision or (SHA256.fullmatch(told) and told != expected):
            other = f"it is of revision {commit}" if commit != self.revision else f"sha256 {told}, not {expected}"
            raise ReleaseError(
                f"{file.path} from {self.name} is not the release's: {other}",
                hint="the release was changed by hand or mixes two revisions; make it anew: voxtral-ops release lock",
                path=file.path,
                source=self.name,
            )


def endpoint() -> str:
    """Return the hub's address."""
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or "https://huggingface.co"


def pin(model: CatalogModel) -> ReleaseModel:
    """Ask the hub for the newest revision of a model and the hash of every file that is needed."""
    if model.bundled:
        return bundled_release_model(model)
    report(f"asking the hub about {model.repository}")
    with hub_errors(model.repository):
        return _pinned(model, _api().model_info(model.repository, files_metadata=True, timeout=TIMEOUT))


def _pinned(model: CatalogModel, info: Any) -> ReleaseModel:
    if not COMMIT.fullmatch(info.sha):
        raise ValueError(f"its newest revision is said to be {info.sha!r}")
    siblings = {sibling.rfilename: sibling for sibling in info.siblings or ()}
    absent = [name for name in model.files if name not in siblings and name not in OPTIONAL]
    if absent:
        raise ModelError(
            f"{model.repository} on {endpoint()} has no {', '.join(absent)}",
            hint="the repository is not in the format that the engine loads",
            repository=model.repository,
        )
    source = HubSource(model.repository, info.sha)
    files = tuple(_pin_file(source, siblings[name]) for name in model.files if name in siblings)
    return ReleaseModel(
        name=model.name, repository=model.repository, revision=info.sha, published=info.last_modified, files=files
    )


@dataclass(frozen=True)
class _Blob:
    """A file whose sha256 is not known yet."""

    path: str
    size: int


def _pin_file(source: HubSource, sibling: Any) -> ReleaseFile:
    if sibling.lfs is not None:
        return ReleaseFile(path=sibling.rfilename, size=sibling.lfs.size, sha256=sibling.lfs.sha256)
    # Small files are plain git blobs, for which the hub knows only git's own hash: fetch them and take ours.
    blob = _Blob(sibling.rfilename, sibling.size or 0)
    data = bytearray()
    if not 0 <= blob.size <= LARGEST_PLAIN:
        raise ValueError(f"{blob.path} is said to have {blob.size} bytes and no sha256")
    if blob.size:
        for block in source.open(blob, 0, blob.size).blocks:
            data += block
            if len(data) > blob.size:
                break
    git = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
    if len(data) != blob.size or git != (sibling.blob_id or git):
        raise ReleaseError(
            f"{blob.path} from {source.name} is not what the hub announced: {len(data)} bytes, git hash {git}",
            hint="try again; if it stays so, the place between us and the hub changes files",
            path=blob.path,
        )
    return ReleaseFile(path=blob.path, size=blob.size, sha256=hashlib.sha256(data).hexdigest())


def hub_reachable(model: CatalogModel) -> bool:
    """Ask whether the hub answers for this model, quickly."""
    try:
        with hub_errors(model.repository):
            _api().model_info(model.repository, timeout=TIMEOUT / 2)
    except (NetworkError, ModelError, ConfigurationError):
        return False
    return True


def _client() -> Any:
    try:
        import huggingface_hub  # noqa: PLC0415 - half a second, only where the hub is asked
    except ImportError as error:
        raise HostError(
            "the hub's client, huggingface_hub, is not installed here",
            hint="install it (pip install 'voxtral-ops[provision]'), or name a directory with the files",
        ) from error
    return huggingface_hub


def _api() -> Any:
    return _client().HfApi(endpoint=endpoint(), token=_token())


def _token() -> str | None:
    return os.environ.get("HF_TOKEN", "").strip() or None


@contextmanager
def hub_errors(repository: str) -> Iterator[None]:
    """Turn the client's exceptions into ours, each with what to do next."""
    try:
        yield
    except VoxtralError:
        raise
    except Exception as error:
        where = f"{repository} on {endpoint()}"
        ours = _answered(error, repository) or _silent(error, where) or _strange(error, where)
        if ours is None:
            raise
        raise ours from error


def _answered(error: Exception, repository: str) -> VoxtralError | None:
    """Name the cases where the hub gave an answer, and it was no."""
    from huggingface_hub import errors  # noqa: PLC0415

    where, again = f"{repository} on {endpoint()}", "pin the model again: voxtral-ops release lock"
    if isinstance(error, errors.GatedRepoError):
        return ModelError(
            f"{where} is gated: its owner wants to know who uses it",
            hint="accept the terms on the model's page, then set HF_TOKEN to a token of that account",
            repository=repository,
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        private = "if it is private, set HF_TOKEN" if _token() is None else "or HF_TOKEN's account may not see it"
        return ModelError(f"{where} does not exist", hint=f"check the name; {private}", repository=repository)
    if isinstance(error, errors.RevisionNotFoundError):
        return ReleaseError(f"{where} has no such revision any more", hint=again, repository=repository)
    if isinstance(error, errors.RemoteEntryNotFoundError):
        return ReleaseError(f"{where} lacks a file that the release names", hint=again, repository=repository)
    cause = error.__cause__ if isinstance(error, errors.LocalEntryNotFoundError) else error
    return _refused(cause, where) if isinstance(cause, errors.HfHubHTTPError) else None


def _silent(error: Exception, where: str) -> VoxtralError | None:
    """Name the cases where nobody answered, the line broke, or the disk did."""
    from huggingface_hub import errors  # noqa: PLC0415

    if isinstance(error, errors.OfflineModeIsEnabled):
        hint = "unset it, or name a directory with the files"
        return NetworkError("HF_HUB_OFFLINE is set, so the hub was not asked", hint=hint)
    # The client's transport has its own tree of exceptions, and it changes between versions.
    transport = type(error).__module__.split(".")[0] in {"httpx", "httpx2", "httpcore", "httpcore2", "hf_xet"}
    if isinstance(error, errors.LocalEntryNotFoundError) or transport:
        return _unreachable(where)
    if isinstance(error, OSError) and error.errno is not None and error.filename is not None:
        return HostError(f"{error.filename}: {error.strerror}", hint="check space and rights there")
    # Files that come up short are plain OSErrors too.
    return (
        NetworkError(f"{where}: the transfer broke: {error}", hint="try again") if isinstance(error, OSError) else None
    )


def _strange(error: Exception, where: str) -> ServerError | None:
    """Name the case where something answered that is no hub: a login page, a filter, another server."""
    if not isinstance(error, ValueError | TypeError | KeyError | AttributeError):
        return None
    return ServerError(
        f"{where}: what answers there is no hub ({' '.join(str(error).split())[:200]})",
        hint="is HF_ENDPOINT right, and does no login page or filter stand in between?",
    )


def _unreachable(where: str) -> NetworkError:
    return NetworkError(
        f"the hub cannot be reached: {where}",
        hint="check the network and HF_ENDPOINT; without a hub, name a directory with the files",
    )


def _refused(error: Any, where: str) -> ConfigurationError | NetworkError:
    status = error.response.status_code if error.response is not None else 0
    if status == 401:
        return ConfigurationError(
            f"{where}: the hub does not accept the token", hint="HF_TOKEN is wrong or expired: make a new one"
        )
    if status == 403:
        return ConfigurationError(
            f"{where}: the token may not read this model", hint="give the token the right to read it"
        )
    hint = "try again later" if status >= 500 or status in {408, 429} else "is HF_ENDPOINT the address of a hub?"
    return NetworkError(f"{where}: the hub answered {status}", hint=hint, status=status)
