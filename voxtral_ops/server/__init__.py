"""Running vLLM: launch, supervise, stop, ask, and judge by golden clips. Names load on first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from voxtral_ops.server.gate import GateReport, run_gate
    from voxtral_ops.server.launch import Launch, read_instance
    from voxtral_ops.server.manager import VLLMServerManager
    from voxtral_ops.server.service import Service, find_services
    from voxtral_ops.server.status import ServerStatus

_HOMES = {
    "GateReport": "gate",
    "Launch": "launch",
    "ServerStatus": "status",
    "Service": "service",
    "VLLMServerManager": "manager",
    "find_services": "service",
    "read_instance": "launch",
    "run_gate": "gate",
}

__all__ = [
    "GateReport",
    "Launch",
    "ServerStatus",
    "Service",
    "VLLMServerManager",
    "find_services",
    "read_instance",
    "run_gate",
]


def __getattr__(name: str) -> Any:
    # The supervisor and the readiness check import this package and should not pay for the rest.
    if name not in _HOMES:
        raise AttributeError(f"module 'voxtral_ops.server' has no attribute {name!r}")
    return getattr(import_module(f"voxtral_ops.server.{_HOMES[name]}"), name)
