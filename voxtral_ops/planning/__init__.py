"""Profile and release → plan: which engine, which model, which flags, and why."""

from voxtral_ops.planning.make import make_plan
from voxtral_ops.planning.overrides import PlanOverrides
from voxtral_ops.planning.placement import choose_model
from voxtral_ops.planning.plan import Instance, Memory, Plan
from voxtral_ops.planning.preflight import Finding, preflight

__all__ = ["Finding", "Instance", "Memory", "Plan", "PlanOverrides", "choose_model", "make_plan", "preflight"]
