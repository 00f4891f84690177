"""Profile and release → plan: which engine, which models, which flags, and why."""

from voxtral_ops.planning.choice import choose_model
from voxtral_ops.planning.make import make_plan
from voxtral_ops.planning.overrides import PlanOverrides
from voxtral_ops.planning.plan import Capacity, Goal, Instance, Memory, Plan
from voxtral_ops.planning.preflight import Finding, preflight

__all__ = [
    "Capacity",
    "Finding",
    "Goal",
    "Instance",
    "Memory",
    "Plan",
    "PlanOverrides",
    "choose_model",
    "make_plan",
    "preflight",
]
