"""What is checked before anything is installed; each finding comes with its cure.

Only the profile is looked at: the plan is made where Ansible runs, and the host may be far away.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict

from voxtral_ops.catalog import catalog_model
from voxtral_ops.errors import HostError, VoxtralError
from voxtral_ops.hardware.profile import Listener, Profile
from voxtral_ops.hardware.systems import check_supported, install_line
from voxtral_ops.paths import Layout
from voxtral_ops.planning.builds import Requirements, obstacles, requirements
from voxtral_ops.planning.devices import Device, describe, devices
from voxtral_ops.planning.memory import MIB, gib
from voxtral_ops.planning.plan import Plan

SHM_BYTES = 160 * MIB
GPU_HOST_BYTES = 6_000_000_000
"""What a GPU's server takes of the host's memory: processes, and vLLM's cache of prepared audio."""
MARGIN = 512 * MIB
"""Room for the toolkit, logs and temporary files."""
TOOLKIT_PYTHON = (3, 11)


class Finding(BaseModel):
    """One check: what was looked at, whether it is fine, what is there, and the cure."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    check: str
    ok: bool
    detail: str
    hint: str = ""


def preflight(
    profile: Profile, plan: Plan | None, layout: Layout, refusal: VoxtralError | None = None
) -> tuple[Finding, ...]:
    """Check this host against the plan. It changes nothing.

    Without a plan, ``refusal`` is why there is none; what can be said of the host without one is still said.
    """
    findings = [_system(profile), _python(profile), _shm(profile), *_rights(profile), _certificates(profile)]
    if plan is None:
        return (*findings, *_refused(refusal))
    row = requirements()[plan.build]
    findings += [*_engine(profile, plan, row), *_interpreter(profile, row)]
    findings += [*_disk(profile, plan, layout), _memory(profile, plan, layout)]
    findings += [*_processor(profile, plan), *_libraries(profile, plan)]
    return (*findings, *_ports(profile, plan, layout), *_gpu_memory(profile, plan, layout))


def _refused(refusal: VoxtralError | None) -> Iterator[Finding]:
    if refusal is not None:
        yield Finding(check="plan", ok=False, detail=refusal.message, hint=refusal.hint)


def _system(profile: Profile) -> Finding:
    try:
        row = check_supported(profile)
    except HostError as error:
        return Finding(check="system", ok=False, detail=error.message, hint=error.hint)
    return Finding(check="system", ok=True, detail=row.title if row.proven else f"{row.title}, not run by our tests")


def _python(profile: Profile) -> Finding:
    new = [each for each in profile.interpreters if _version(each.version) >= TOOLKIT_PYTHON]
    if any(each.venv for each in new):
        best = next(each for each in new if each.venv)
        return Finding(check="python", ok=True, detail=f"{best.path} ({best.version})")
    lacking = f"{new[0].path} cannot make virtual environments" if new else "no Python 3.11 or newer is here"
    return Finding(check="python", ok=False, detail=lacking, hint=install_line(profile, "venv"))


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:2] if part.isdigit())


def _engine(profile: Profile, plan: Plan, row: Requirements) -> Iterator[Finding]:
    accelerators = profile.accelerators
    good = {
        "architecture": profile.cpu.architecture,
        "glibc": f"glibc {profile.system.glibc}",
        "capability": ", ".join(
            dict.fromkeys(f"{gpu.name}: {'.'.join(map(str, gpu.compute_capability))}" for gpu in accelerators.gpus)
        ),
        "driver": f"NVIDIA driver {accelerators.driver}",
    }
    for check, problem in obstacles(profile, row).items():
        detail, hint = (problem.message, problem.hint) if problem else (good[check], "")
        yield Finding(check=check, ok=problem is None, detail=detail, hint=hint)
    strange = [each.model for each in plan.instances if each.model not in row.models]
    detail = f"{row.title} does not serve {', '.join(strange)}" if strange else row.title
    hint = f"it serves {', '.join(row.models)}" if strange else ""
    yield Finding(check="engine", ok=not strange, detail=detail, hint=hint)
    if plan.build != "cpu" and accelerators.problem:
        # Some GPUs work and the plan uses those: worth knowing, no reason to stop.
        yield Finding(check="gpu", ok=True, detail=accelerators.problem, hint=accelerators.hint)


def _interpreter(profile: Profile, row: Requirements) -> Iterator[Finding]:
    if not any(_version(each.version) == _version(row.python) for each in profile.interpreters):
        detail = f"the engine wants Python {row.python}, which is not here: the installer fetches it"
        yield Finding(check="engine python", ok=True, detail=detail)


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
        else requirements()[plan.build].disk
    )


def _weights_need(profile: Profile, plan: Plan, layout: Layout) -> int:
    facts = profile.directories.get(str(layout.models))
    here = facts.complete if facts else ()
    # Instances of one model share its files, which are 16-bit whatever they become on the GPU.
    wanted = {f"{each.repository}/{each.revision}": catalog_model(each.model) for each in plan.instances}
    return sum(model.weight_bytes for name, model in wanted.items() if name not in here)


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


def _ports(profile: Profile, plan: Plan, layout: Layout) -> Iterator[Finding]:
    first: dict[int, str] = {}
    for instance in plan.instances:
        other = first.setdefault(instance.port, instance.name)
        if other != instance.name:
            detail = f"{instance.name} and {other} would both listen on port {instance.port}"
            yield Finding(check="port", ok=False, detail=detail, hint="give one of them another port")
        else:
            yield _port(profile, instance.port, layout)


def _port(profile: Profile, port: int, layout: Layout) -> Finding:
    holder = _holder(profile, port)
    if holder is None:
        return Finding(check="port", ok=True, detail=f"port {port} is free")
    if _ours(holder.command, layout):
        return Finding(check="port", ok=True, detail=f"port {port} is held by this installation's own server")
    who = f"process {holder.pid} ({holder.command[:120]})" if holder.pid else holder.command
    hint = f"stop it (kill {holder.pid}), or take another port" if holder.pid else "take another port, or look as root"
    return Finding(check="port", ok=False, detail=f"port {port} is held by {who}", hint=hint)


def _holder(profile: Profile, port: int) -> Listener | None:
    return next((each for each in profile.listeners if each.port == port), None)


def _ours(command: str, layout: Layout) -> bool:
    return f"{layout.home}/" in command


def _serving(profile: Profile, plan: Plan, layout: Layout) -> bool:
    holders = [_holder(profile, each.port) for each in plan.instances]
    return any(holder is not None and _ours(holder.command, layout) for holder in holders)


def _gpu_memory(profile: Profile, plan: Plan, layout: Layout) -> Iterator[Finding]:
    needs: dict[int, int] = {}
    for instance in plan.instances:
        for index in instance.gpus:
            needs[index] = needs.get(index, 0) + instance.memory.total
    for device in devices(profile, layout.home):
        if device.gpu.index in needs:
            yield _room(device, needs[device.gpu.index])


def _room(device: Device, need: int) -> Finding:
    free = device.limit - device.others
    detail = f"GPU {device.gpu.index} ({device.gpu.name}): {gib(free)} free, {gib(need)} needed"
    if free >= need:
        return Finding(check="gpu memory", ok=True, detail=detail)
    if not device.holders:
        hint = "who holds it cannot be seen from here: look as root (nvidia-smi), or plan again around it"
        return Finding(check="gpu memory", ok=False, detail=detail, hint=hint)
    who = ", ".join(describe(each) for each in device.holders)
    pids = " ".join(str(each.pid) for each in device.holders)
    hint = f"stop what holds it (kill {pids}), or plan again around it"
    return Finding(check="gpu memory", ok=False, detail=f"{detail}; {who}", hint=hint)


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
