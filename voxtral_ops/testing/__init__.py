"""Stand-ins for tests, ours and yours: a scriptable engine that speaks vLLM's HTTP."""

from voxtral_ops.testing.fake_engine import FakeEngine, Reply

__all__ = ["FakeEngine", "Reply"]
