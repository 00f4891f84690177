"""An instance while it is gathered: what every Voxtral server is started with, each setting with its reason."""

from __future__ import annotations

from dataclasses import dataclass, field

from voxtral_ops.catalog import CatalogModel
from voxtral_ops.planning.memory import FILE_SECONDS, MIB, audio_seconds, gib, is_live
from voxtral_ops.planning.options import known_options, known_variables
from voxtral_ops.planning.overrides import PlanOverrides
from voxtral_ops.planning.plan import Capacity, Instance, Memory, Setting
from voxtral_ops.release import ReleaseModel

DEFAULT_PORT = 8000
NOWHERE = "invalid.localhost"
"""A name that cannot resolve: the only way to tell vLLM that no media domain is allowed."""
UPLOAD_FLOOR = 25
DECODE_FLOOR = 256 * MIB


@dataclass
class Draft:
    """Arguments and environment, each with its reason."""

    version: str
    arguments: dict[str, Setting] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    def argument(self, name: str, value: Setting, why: str) -> None:
        """Add an option, if this version of vLLM has it."""
        known = known_options(self.version)
        if not known or name in known:
            self.arguments[name] = value
            self.reasons[name] = why

    def variable(self, name: str, value: object, why: str) -> None:
        """Add an environment variable, unless it is one of vLLM's that this version does not read."""
        known = known_variables(self.version)
        if not known or name in known or not name.startswith("VLLM_"):
            self.environment[name] = str(value)
            self.reasons[name] = why


def common(model: CatalogModel, version: str, overrides: PlanOverrides, number: int) -> Draft:
    """Gather what does not depend on the hardware. ``number`` counts the plan's instances from 0."""
    draft, formats = Draft(version), "the files are in Mistral's own format"
    for name in ("tokenizer-mode", "config-format", "load-format"):
        draft.argument(name, "mistral", formats)
    draft.argument("served-model-name", model.repository, "the name in the model's own documentation")
    draft.argument("host", "127.0.0.1", "some of vLLM's routes need no key: only the edge may reach it")
    first = "asked for" if overrides.port else "vLLM's own default"
    base = overrides.port or DEFAULT_PORT
    draft.argument("port", base + number, f"the next after {base + number - 1}" if number else first)
    draft.argument("shutdown-timeout", 30, "SIGTERM would abort running requests; this lets them end")
    draft.argument("allowed-media-domains", NOWHERE, "clients send audio; the server fetches none for them")
    draft.argument("disable-fastapi-docs", True, "fewer open routes")
    if "tools" in model.tasks:
        draft.argument("enable-auto-tool-choice", True, "voice commands are tool calls")
        draft.argument("tool-call-parser", "mistral", "the model's own format")
    draft.variable("HF_HUB_OFFLINE", 1, "the weights are here and verified; nothing is fetched while serving")
    draft.variable("VLLM_NO_USAGE_STATS", 1, "no telemetry")
    draft.variable("DO_NOT_TRACK", 1, "no telemetry")
    draft.variable("VLLM_MEDIA_URL_ALLOW_REDIRECTS", 0, "the domain list is checked for the first address only")
    return draft


def limit_audio(draft: Draft, model: CatalogModel, context: int, capacity: Capacity) -> None:
    """Raise vLLM's limits on a recording to what the context holds, and say what the capacity is made of."""
    longest = audio_seconds(model, context)
    seconds = min(longest, FILE_SECONDS) if is_live(model) else longest
    why = "what the context holds; vLLM's own limit is 600"
    if is_live(model):
        why = "files pass the encoder at once, outside vLLM's own budget; live sessions are not limited by it"
    draft.variable("VLLM_MAX_AUDIO_DECODE_DURATION_S", seconds, why)
    megabytes = max(UPLOAD_FLOOR, -(-seconds * 64_000 // 1_000_000))
    draft.variable("VLLM_MAX_AUDIO_CLIP_FILESIZE_MB", megabytes, "that long in twice the size of 16 kHz mono WAV")
    size = max(DECODE_FLOOR, seconds * 44_100 * 2 * 4)
    draft.variable("VLLM_MAX_AUDIO_DECODE_BYTES", size, "that long in 44.1 kHz stereo, decoded")
    at_most = (
        f"whole recordings with their words in the cache, at most max-num-seqs ({draft.arguments['max-num-seqs']})"
    )
    draft.reasons["clips"] = at_most
    draft.reasons["files"] = at_most if capacity.files else f"one recording is {seconds // 60} minutes at the longest"
    draft.reasons["longest-audio"] = "12.5 tokens a second, " + (
        "words and sounds share them"
        if is_live(model)
        else "in chunks that are filled up, and 4 tokens a second of words"
    )


def finish(  # noqa: PLR0913 - everything that an instance is made of
    draft: Draft,
    model: CatalogModel,
    pinned: ReleaseModel | None,
    overrides: PlanOverrides,
    *,
    name: str,
    memory: Memory,
    capacity: Capacity,
    gpus: tuple[int, ...] = (),
) -> Instance:
    """Let the operator have the last word, and close the draft."""
    for option, value in overrides.arguments_of(model).items():
        if (option, value) == ("quantization", "none"):
            continue
        opposite = option.removeprefix("no-") if option.startswith("no-") else f"no-{option}"
        draft.arguments.pop(opposite, None)
        draft.reasons.pop(opposite, None)
        draft.arguments[option] = value
        draft.reasons[option] = "set by the operator"
    for variable, text in overrides.environment.items():
        draft.environment[variable] = text
        draft.reasons[variable] = "set by the operator"
    where = f"{pinned.repository} at {pinned.revision[:12]}, {gib(pinned.size)}" if pinned else ""
    draft.reasons["model"] = where or f"{model.repository}, not pinned yet: `voxtral-ops release lock` pins it"
    port = draft.arguments["port"]
    return Instance(
        name=name,
        model=model.name,
        repository=model.repository if pinned is None else pinned.repository,
        revision="" if pinned is None else pinned.revision,
        served_name=model.repository,
        gpus=gpus,
        port=int(str(port)),
        arguments=draft.arguments,
        environment=draft.environment,
        reasons=draft.reasons,
        memory=memory,
        capacity=capacity,
    )
