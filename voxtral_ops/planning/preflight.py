"""What is checked before anything is installed; each finding comes with its cure.

Only the profile is looked at: the plan is made where Ansible runs, and the host may be far away.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict

from voxtral_ops.errors import HostError
from voxtral_ops.hardware.profile import Listener, Profile
from voxtral_ops.hardware.systems import check_supported, install_line
from voxtral_ops.paths import Layout
from voxtral_ops.planning.memory import MIB, gib
from voxtral_ops.planning.plan import Instance, Plan

ENGINE_BYTES = {"cpu": 4_500_000_000, "cuda13": 16_000_000_000, "cuda12": 16_000_000_000}
"""An installed engine with its byte code; the CPU build measured, the others added up from the wheels."""
SHM_BYTES = 160 * MIB
GPU_HOST_BYTES = 6_000_000_000
"""What a GPU's server takes of the host's memory: processes, and vLLM's cache of prepared audio."""
MARGIN = 512 * MIB
"""Room for the toolkit, logs and temporary files."""
PYTHON = (3, 11)


class Finding(BaseModel):
    """One check: what was looked at, whether it is fine, what is there, and the cure."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    check: str
    ok: bool
    detail: str
    hint: str = ""


def preflight(profile: Profile, plan: Plan, layout: Layout) -> tuple[Finding, ...]:
    """Check this host against the plan. It changes nothing."""
    findings = [
        _system(profile),
        _python(profile),
        *_disk(profile, plan, layout),
        _memory(profile, plan, layout),
    ]
    findings += [_shm(profile), *_processor(profile, plan), *_libraries(profile, plan)]
    findings += [_port(profile, instance, layout) for instance in plan.instances]
    return (*findings, *_gpu_memory(profile, plan, layout), *_rights(profile), _certificates(profile))


def _system(profile: Profile) -> Finding:
    try:
        row = check_supported(profile)
    except HostError as error:
        return Finding(check="system", ok=False, detail=error.message, hint=error.hint)
    return Finding(check="system", ok=True, detail=row.title if row.proven else f"{row.title}, not run by our tests")


def _python(profile: Profile) -> Finding:
    new = [each for each in profile.interpreters if tuple(map(int, each.version.split(".")[:2])) >= PYTHON]
    if any(each.venv for each in new):
        best = next(each for each in new if each.venv)
        return Finding(check="python", ok=True, detail=f"{best.path} ({best.version})")
    lacking = f"{new[0].path} cannot make virtual environments" if new else "no Python 3.11 or newer is here"
    return Finding(check="python", ok=False, detail=lacking, hint=install_line(profile, "venv"))


def _disk(profile: Profile, plan: Plan, layout: Layout) -> Iterator[Finding]:
    needs: dict[int, tuple[str, int]] = {}
    for place, size in (
        (layout.home, _engine_need(profile, plan, layout)),
        (layout.models, _weights_need(profile, plan, layout)),
    ):
        facts = profile.directories.get(str(place))
        if facts is not None:
            known, before = needs.get(facts.device, (str(place), 0))
            needs[facts.device] = (known, before + size)
    for name, size in needs.values():
        free, need = profile.disk_free[name], size + (MARGIN if size else 0)
        detail = f"{gib(free)} free for {name}, {gib(need)} needed"
        hint = (
            "" if free >= need else f"free {gib(need - free)} on the file system of {profile.directories[name].exists}"
        )
        yield Finding(check="disk", ok=free >= need, detail=detail, hint=hint)


def _engine_need(profile: Profile, plan: Plan, layout: Layout) -> int:
    facts = profile.directories.get(str(layout.home))
    installed = facts.complete if facts else ()
    return (
        0
        if any(name.startswith(f"engines/{plan.engine}-{plan.build}-") for name in installed)
        else ENGINE_BYTES[plan.build]
    )


def _weights_need(profile: Profile, plan: Plan, layout: Layout) -> int:
    facts = profile.directories.get(str(layout.models))
    here = facts.complete if facts else ()
    absent = [each for each in plan.instances if f"{each.repository}/{each.revision}" not in here]
    return sum(each.memory.weights * max(1, len(each.gpus)) for each in absent)


def _memory(profile: Profile, plan: Plan, layout: Layout) -> Finding:
    if _serving(profile, plan, layout):
        return Finding(check="memory", ok=True, detail="this installation's server is running and has its memory")
    # A GPU's server needs the host's memory for its processes; weights pass through the page cache.
    need = sum(each.memory.total if not each.gpus else GPU_HOST_BYTES for each in plan.instances)
    free = profile.memory_available
    hint = f"stop something that uses {gib(need - free)}, or raise the container's limit" if free < need else ""
    return Finding(check="memory", ok=free >= need, detail=f"{gib(free)} available, {gib(need)} needed", hint=hint)


def _shm(profile: Profile) -> Finding:
    have = profile.shm_total
    hint = ""
    if have < SHM_BYTES:
        hint = "mount -o remount,size=1g /dev/shm"
        if profile.system.container:
            hint = f"start the container with --shm-size=1g, or as its root: {hint}"
    detail = f"shared memory: {have // MIB} MiB, and vLLM's processes need {SHM_BYTES // MIB}"
    return Finding(check="shm", ok=have >= SHM_BYTES, detail=detail, hint=hint)


def _processor(profile: Profile, plan: Plan) -> Iterator[Finding]:
    if plan.build != "cpu":
        return
    flags = set(profile.cpu.isa)
    best = next((flag for flag in ("amx_bf16", "avx512_bf16", "avx512f", "avx2") if flag in flags), None)
    detail = f"{profile.cpu.model}: {best or 'no AVX2'}"
    hint = "" if best else "the CPU engine needs AVX2: in a virtual machine, pass the host's processor through"
    yield Finding(check="processor", ok=best is not None, detail=detail, hint=hint)


def _libraries(profile: Profile, plan: Plan) -> Iterator[Finding]:
    if plan.build == "cpu":
        found = profile.libraries.get("libnuma.so.1", False)
        detail = "libnuma.so.1 is here" if found else "libnuma.so.1 is missing: the engine does not load without it"
        yield Finding(check="libnuma", ok=found, detail=detail, hint="" if found else install_line(profile, "numa"))
        return
    compiler = profile.compiler
    hint = "" if compiler else install_line(profile, "compiler", "headers")
    detail = compiler or "no C compiler: the engine compiles small kernels when it starts"
    yield Finding(check="compiler", ok=compiler is not None, detail=detail, hint=hint)


def _port(profile: Profile, instance: Instance, layout: Layout) -> Finding:
    holder, port = _holder(profile, instance.port), instance.port
    if holder is None:
        return Finding(check="port", ok=True, detail=f"port {port} is free")
    if _ours(holder, layout):
        return Finding(check="port", ok=True, detail=f"port {port} is held by this installation's own server")
    who = f"process {holder.pid} ({holder.command[:120]})" if holder.pid else holder.command
    hint = f"stop it (kill {holder.pid}), or take another port" if holder.pid else "take another port, or look as root"
    return Finding(check="port", ok=False, detail=f"port {port} is held by {who}", hint=hint)


def _holder(profile: Profile, port: int) -> Listener | None:
    return next((each for each in profile.listeners if each.port == port), None)


def _ours(holder: Listener, layout: Layout) -> bool:
    return f"{layout.home}/" in holder.command


def _serving(profile: Profile, plan: Plan, layout: Layout) -> bool:
    holders = [_holder(profile, each.port) for each in plan.instances]
    return any(holder is not None and _ours(holder, layout) for holder in holders)


def _gpu_memory(profile: Profile, plan: Plan, layout: Layout) -> Iterator[Finding]:
    wanted = {index: each.memory for each in plan.instances for index in each.gpus}
    if not wanted or _serving(profile, plan, layout):
        return
    for gpu in profile.accelerators.gpus:
        if gpu.index not in wanted:
            continue
        free, need = gpu.memory_total - gpu.memory_used, wanted[gpu.index].total
        detail = f"GPU {gpu.index}: {gib(free)} free, {gib(need)} needed"
        hint = "" if free >= need else "nvidia-smi shows who uses it; or set gpu-memory-utilization lower"
        yield Finding(check="gpu memory", ok=free >= need, detail=detail, hint=hint)


def _rights(profile: Profile) -> Iterator[Finding]:
    closed = [(name, facts) for name, facts in profile.directories.items() if not facts.writable]
    for name, facts in closed[:1]:
        hint = "run as root, or as an ordinary user with directories of your own"
        detail = f"{profile.user} cannot write {facts.exists} (for {name})"
        yield Finding(check="rights", ok=False, detail=detail, hint=hint)
    if not closed:
        yield Finding(check="rights", ok=True, detail=f"{profile.user} can write where things go")


def _certificates(profile: Profile) -> Finding:
    if profile.certificates:
        return Finding(check="certificates", ok=True, detail="the system has certificate authorities")
    hint = install_line(profile, "certificates")
    return Finding(check="certificates", ok=False, detail="the system has no certificate authorities", hint=hint)
