"""Progress of a start, read from real log lines, under a clock of our own."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from voxtral_ops.server.phases import PHASES, StartProgress

# A start of vLLM 0.32 on a CPU, shortened.
LINES = [
    ("importing", "Triton is installed, but doesn't include CPU backend. Disabling Triton."),
    ("configuring", "(APIServer pid=1) INFO 11-22 18:14:01 [api_utils.py:286] non-default args: {'port': 18200}"),
    ("configuring", "(APIServer pid=1) INFO 11-22 18:14:22 [model.py:733] Resolved architecture: Voxtral"),
    ("engine", "(APIServer pid=1) INFO 11-22 18:14:23 [base.py:280] Multi-modal warmup completed in 0.447s"),
    ("workers", "(EngineCore pid=2) INFO 11-22 18:14:35 [core.py:133] Initializing a V1 LLM engine (v0.32.0) with"),
    ("loading", "(Worker pid=3) INFO 11-22 18:14:48 [cpu_model_runner.py:68] Starting to load model /m..."),
    ("loading", "Loading safetensors checkpoint shards:  50% Completed | 1/2 [00:00<00:00, 22.03it/s]"),
    ("warming", "(Worker pid=3) INFO 11-22 18:14:48 [default_loader.py:501] Loading weights took 0.06 seconds"),
    ("opening", "(EngineCore pid=2) INFO 11-22 18:14:50 [core.py:402] init engine (profile, create kv cache) took"),
    ("opening", "(EngineCore pid=2) WARNING 11-22 18:14:50 [vllm.py:1703] Enforce eager set, disabling"),
]  # fmt: skip


class Clock:
    """Time that moves when told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_phases_follow_the_log() -> None:
    clock = Clock()
    progress = StartProgress(clock)
    for phase, line in LINES:
        clock.now += 1
        progress.feed(line)
        assert progress.phase.name == phase
    clock.now += 1
    took = progress.finish()
    assert took["configuring"] == 2.0
    assert set(took) == {phase.name for phase in PHASES}


def test_a_start_as_long_as_the_last_one_is_shown_evenly() -> None:
    known = {phase.name: 10.0 for phase in PHASES}
    clock = Clock()
    progress = StartProgress(clock, known)
    clock.now = 5.0
    assert abs(progress.fraction() - 0.5 / len(PHASES)) < 0.01
    progress.feed(LINES[1][1])
    clock.now = 10.0
    assert abs(progress.fraction() - 1.5 / len(PHASES)) < 0.01


def test_shards_count_while_weights_are_loaded() -> None:
    progress = StartProgress(Clock(), {phase.name: 10.0 for phase in PHASES})
    progress.feed(LINES[5][1])
    before = progress.fraction()
    progress.feed(LINES[6][1])
    assert progress.fraction() > before


@given(st.lists(st.tuples(st.floats(0, 500), st.integers(0, len(LINES) - 1)), max_size=30))
def test_never_backwards_never_done(steps: list[tuple[float, int]]) -> None:
    clock = Clock()
    progress = StartProgress(clock)
    last = 0.0
    for seconds, index in steps:
        clock.now += seconds
        progress.feed(LINES[index][1])
        now = progress.fraction()
        assert last <= now + 1e-9
        assert now < 1.0
        last = now
