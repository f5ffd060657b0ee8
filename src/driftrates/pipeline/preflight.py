"""What a SLURM cluster, a profile and a folder lack for the jobs of the workflow, in plain words."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import yaml

NETWORK_LESS = ("tmpfs", "ramfs", "overlay", "squashfs")
"""File systems that only one machine sees; `shared` tells the others by asking a node."""


class Finding(NamedTuple):
    """One line of the preflight: ``level`` is "ok", "note" or "missing"; ``remedy`` is empty where nothing is to be done."""

    level: str
    what: str
    remedy: str = ""


class Need(NamedTuple):
    """The largest request of a stage (the name of its rule): memory in MB, run time in minutes, threads, GPUs."""

    stage: str
    memory: int
    runtime: int
    threads: int
    gpus: int


def preflight(profile: Path, folder: Path, needs: Sequence[Need], *, disk_mb: int = 0, ask_nodes: bool = True) -> list[Finding]:
    """What the cluster, the profile and the folder of the results lack for jobs like ``needs``.

    profile (folder of a workflow profile, whose ``set-resources`` and ``set-threads`` change the needs), folder (where results will lie),
    disk_mb (room that they take). ``ask_nodes`` starts a job of some seconds on each partition that is idle, which tells whether it sees
    this folder and has CUDA. Never raises for what is missing: that is a finding.
    """
    findings = [_plugin(), *_folder(folder, disk_mb)]
    commands, missing = _commands()
    findings += missing
    try:
        settings, limits = _read(profile)
    except (OSError, ValueError, TypeError, yaml.YAMLError) as error:
        return [*findings, Finding("missing", f"profile {profile}: {error}", "name a folder with profile.yaml")]
    if not commands:
        return findings
    partitions = _partitions()
    if not partitions:
        return [*findings, Finding("missing", "SLURM's controller does not answer (sinfo)", "ask the cluster's administrators, or wait")]
    if limits is None:
        limits = _named(settings, partitions)
    findings += _status(settings)
    findings += _account(settings)
    for name, limit in limits.items():
        findings += _partition(name, limit, partitions)
    for need in needs:
        findings += _fits(_asked(need, settings), limits, partitions)
    if ask_nodes:
        for name in limits:
            if name in partitions:
                findings += _ask(name, folder, bool(limits[name].get("max_gpu")), settings)
    return findings


def _plugin() -> Finding:
    if importlib.util.find_spec("snakemake_executor_plugin_slurm") is None:
        remedy = "pip install -c envs/pins.txt -e '.[slurm]'"
        return Finding("missing", "the package snakemake-executor-plugin-slurm is not installed", remedy)
    return Finding("ok", "snakemake-executor-plugin-slurm is installed")


def _commands() -> tuple[bool, list[Finding]]:
    absent = [name for name in ("sbatch", "squeue", "scancel", "sinfo", "scontrol") if shutil.which(name) is None]
    if absent:
        what = f"no command {', '.join(absent)} on PATH"
        return False, [Finding("missing", what, "log in to a machine that submits jobs, or load the cluster's SLURM module")]
    return True, [Finding("ok", "SLURM's commands are on PATH")]


def _folder(folder: Path, disk_mb: int) -> list[Finding]:
    existing = next(p for p in (folder, *folder.parents) if p.exists())
    if not os.access(existing, os.W_OK):
        return [Finding("missing", f"{existing} cannot be written", "run the workflow in a folder of your own")]
    free = shutil.disk_usage(existing).free // 2**20
    findings = [Finding("ok", f"{folder} can be written")]
    if free < disk_mb:
        findings.append(
            Finding("missing", f"{existing} has {free} MB left; the results take about {disk_mb}", "make room or move the folder")
        )
    kind = _file_system(existing)
    if kind in NETWORK_LESS:
        findings.append(Finding("note", f"{existing} is on a file system ({kind}) that nodes seldom share", "work in a shared folder"))
    return findings


def _file_system(path: Path) -> str:
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return ""
    resolved = path.resolve()
    above = [(len(point), kind) for point, kind in mounts if resolved.is_relative_to(point)]
    return max(above)[1] if above else ""


def _read(profile: Path) -> tuple[dict[str, Any], dict[str, dict[str, Any]] | None]:
    """The profile, and the limits of its partitions by their names, None where it has no file of them."""
    settings = yaml.safe_load((profile / "profile.yaml").read_text())
    if not isinstance(settings, dict):
        raise ValueError("profile.yaml holds no settings")
    if "slurm-partition-config" not in settings:
        return settings, None
    limits = yaml.safe_load(Path(settings["slurm-partition-config"]).read_text())["partitions"]
    return settings, {str(name): dict(limit or {}) for name, limit in limits.items()}


def _named(settings: Mapping[str, Any], partitions: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, Any]]:
    """Partitions that the profile names one by one, else the cluster's default one, with the GPUs that SLURM knows of."""
    resources = [settings.get("default-resources"), *(settings.get("set-resources") or {}).values()]
    names = [str(r["slurm_partition"]) for r in resources if isinstance(r, Mapping) and r.get("slurm_partition")]
    names = names or [name for name, entry in partitions.items() if entry.get("Default") == "YES"]
    return {name: {"max_gpu": _gpus(partitions.get(name, {}).get("gres", ""))} for name in names}


def _asked(need: Need, settings: Mapping[str, Any]) -> Need:
    """``need`` as the profile changes it."""
    own = (settings.get("set-resources") or {}).get(need.stage) or {}
    changed = {field: _number(str(own[key])) for field, key in (("memory", "mem_mb"), ("gpus", "gpu")) if key in own}
    if "runtime" in own:
        changed["runtime"] = _minutes(str(own["runtime"])) or _number(str(own["runtime"]))
    if "gres" in own:
        changed["gpus"] = _gpus(str(own["gres"]))
    return need._replace(threads=int((settings.get("set-threads") or {}).get(need.stage, need.threads)), **changed)


def _partitions() -> dict[str, dict[str, str]]:
    """What ``scontrol show partition`` and ``sinfo`` tell of each partition."""
    found: dict[str, dict[str, str]] = {}
    for line in call("scontrol", "--oneliner", "show", "partition").splitlines():
        fields = dict(part.split("=", 1) for part in line.split() if "=" in part)
        if "PartitionName" in fields:
            found[fields["PartitionName"]] = fields
    for line in call("sinfo", "--noheader", "--format", "%R|%m|%c|%G|%D|%T").splitlines():
        name, memory, cpus, gres, nodes, state = (line.split("|") + [""] * 6)[:6]
        entry = found.get(name)
        if entry is not None:
            entry["memory"] = str(max(_number(memory), _number(entry.get("memory", "0"))))
            entry["cpus"] = str(max(_number(cpus), _number(entry.get("cpus", "0"))))
            entry["gres"] = " ".join({*entry.get("gres", "").split(), gres} - {"(null)", ""})
            entry["idle"] = str(
                _number(entry.get("idle", "0")) + (_number(nodes) if state.rstrip("*~#$@+").startswith(("idle", "mix")) else 0)
            )
    return found


def _status(settings: Mapping[str, Any]) -> list[Finding]:
    age = re.search(r"MinJobAge\s*=\s*(\d+)", call("scontrol", "show", "config"))
    interval = 3 * int(settings.get("slurm-init-seconds-before-status-checks", 40))
    if settings.get("slurm-status-command") != "squeue":
        return [
            Finding(
                "note", "the profile does not ask squeue for the state of jobs", "slurm-status-command: squeue, unless sacct works here"
            )
        ]
    if age and int(age[1]) < interval and shutil.which("sacct"):
        what = f"SLURM forgets finished jobs after {age[1]} s (MinJobAge), before {interval} s: Snakemake will ask sacct instead of squeue"
        if _works("sacct", "--noheader", "--allocations", "--starttime", "now"):
            return [Finding("note", what)]
        remedy = f"slurm-init-seconds-before-status-checks: {max(1, int(age[1]) // 3)}"
        return [Finding("missing", f"{what}, which does not answer here: the run would never end", remedy)]
    return [Finding("ok", "squeue tells the state of jobs")]


def _account(settings: Mapping[str, Any]) -> list[Finding]:
    account = (settings.get("default-resources") or {}).get("slurm_account")
    config = call("scontrol", "show", "config")
    storage = re.search(r"AccountingStorageType\s*=\s*(\S+)", config)
    kept = bool(storage) and not storage[1].endswith("/none")
    enforced = re.search(r"AccountingStorageEnforce\s*=\s*(\S+)", config)
    if account and not kept:
        return [Finding("missing", "the profile names an account, but this cluster keeps none", "put a comment before slurm_account")]
    if not kept:
        return [Finding("ok", "this cluster keeps no accounts, and the profile names none")]
    user = os.environ.get("USER") or str(os.getuid())
    known = {a.strip() for a in call("sacctmgr", "-n", "-s", "list", "user", user, "format=account%256").splitlines()} - {""}
    if account and known and str(account).lower() not in {a.lower() for a in known}:
        return [Finding("missing", f"the account {account} is not yours; yours: {', '.join(sorted(known))}", "correct slurm_account")]
    if not account and enforced and "associations" in enforced[1]:
        choice = f"one of {', '.join(sorted(known))}" if known else "the account of your project"
        return [Finding("missing", "this cluster wants an account, and the profile names none", f"set slurm_account to {choice}")]
    return [Finding("ok", f"account: {account or 'the default one'}")]


def _partition(name: str, limit: Mapping[str, Any], partitions: Mapping[str, Mapping[str, str]]) -> list[Finding]:
    if name not in partitions:
        remedy = f"correct profiles/slurm/partitions.yaml; here are: {', '.join(partitions)}"
        return [Finding("missing", f"there is no partition {name}", remedy)]
    findings, entry = [], partitions[name]
    if entry.get("State", "UP") != "UP":
        findings.append(Finding("missing", f"the partition {name} is {entry['State']}", "choose another one or wait"))
    most, ours = _minutes(entry.get("MaxTime", "")), _minutes(str(limit.get("max_runtime", "")))
    if most and ours and ours > most:
        remedy = f"max_runtime: {entry['MaxTime']!r} for it in profiles/slurm/partitions.yaml"
        findings.append(
            Finding("missing", f"the partition {name} ends jobs after {entry['MaxTime']}, before {limit['max_runtime']}", remedy)
        )
    if limit.get("max_gpu") and "gpu" not in entry.get("gres", ""):
        remedy = "correct max_gpu in profiles/slurm/partitions.yaml, or leave GPUs out of the profile (set-resources)"
        findings.append(Finding("missing", f"the partition {name} has no GPU that SLURM knows of (gres)", remedy))
    if entry.get("idle") == "0":
        findings.append(Finding("note", f"no node of the partition {name} is free now: jobs will wait"))
    return findings or [Finding("ok", f"partition {name}")]


def _fits(need: Need, limits: Mapping[str, Mapping[str, Any]], partitions: Mapping[str, Mapping[str, str]]) -> list[Finding]:
    names = [n for n, limit in limits.items() if n in partitions and int(limit.get("max_gpu", 0)) >= need.gpus]
    if not names:
        remedy = "add one to profiles/slurm/partitions.yaml, or configure device: cpu"
        return [Finding("missing", f"no partition of the profile has a node with {need.gpus} GPUs for {need.stage}", remedy)]
    findings = []
    for wanted, field, unit, setting in (
        (need.memory, "memory", "MB", "set-resources: mem_mb"),
        (need.threads, "cpus", "CPUs", "set-threads"),
    ):
        most = max(_number(partitions[n].get(field, "0")) for n in names)
        if most and wanted > most:
            what = f"{need.stage} asks for {wanted} {unit}; a node of {', '.join(names)} has {most}"
            findings.append(Finding("missing", what, f"choose another partition, or less in the profile ({setting})"))
    longest = max((_minutes(partitions[n].get("MaxTime", "")) or 10**9) for n in names)
    if need.runtime > longest:
        remedy = "choose another partition, or set runtime with set-resources"
        findings.append(Finding("missing", f"{need.stage} asks for {need.runtime} minutes; {', '.join(names)} allows {longest}", remedy))
    return findings or [Finding("ok", f"{need.stage} fits: {need.memory} MB, {need.runtime} minutes, {need.threads} CPUs")]


def _ask(partition: str, folder: Path, gpu: bool, settings: Mapping[str, Any]) -> list[Finding]:
    """What one node of the partition sees: this folder, this Python, CUDA."""
    existing = next(p for p in (folder, *folder.parents) if p.exists()).resolve()
    marker = existing / f".preflight.{os.getpid()}"
    account = (settings.get("default-resources") or {}).get("slurm_account")
    code = "from driftrates.sums import cuda; print('cuda', cuda.available())"
    script = f"test -e {shlex.quote(str(marker))} && echo shared; {shlex.join([sys.executable, '-c', code])}"
    command = [
        "srun",
        "--immediate=20",
        f"--partition={partition}",
        "--ntasks=1",
        "--mem=1000",
        "--time=2",
        "--job-name=driftrates-preflight",
    ]
    command += [f"--account={account}"] if account else []
    command += ["--gres=gpu:1"] if gpu else []
    try:
        marker.touch()
        done = subprocess.run([*command, "sh", "-c", script], capture_output=True, text=True, timeout=180)
    except (OSError, subprocess.TimeoutExpired) as error:
        return [Finding("note", f"no answer from a node of {partition} ({type(error).__name__}): the shared folder and CUDA are unknown")]
    finally:
        with suppress(OSError):
            marker.unlink()
    if not done.stdout.strip():
        why = (done.stderr.strip().splitlines() or ["no output"])[-1]
        return [Finding("note", f"no answer from a node of {partition} ({why}): the shared folder and CUDA are unknown")]
    findings = []
    if "shared" not in done.stdout:
        findings.append(Finding("missing", f"a node of {partition} does not see {existing}", "work in a folder that all nodes share"))
    if "cuda " not in done.stdout:
        remedy = "install the environment in a folder that all nodes share"
        findings.append(Finding("missing", f"a node of {partition} cannot run {sys.executable} with driftrates", remedy))
    elif gpu and "cuda True" not in done.stdout:
        remedy = "pip install -c envs/pins.txt -e '.[cuda12]' (or cuda13); without it simulations run on that node's CPU"
        findings.append(Finding("missing", f"a node of {partition} has no usable CUDA", remedy))
    return findings or [Finding("ok", f"a node of {partition} sees the folder and runs driftrates" + (" with CUDA" if gpu else ""))]


def call(*command: str) -> str:
    """What a command prints; nothing where it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _works(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=60).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _number(text: str) -> int:
    digits = re.match(r"\d+", text)
    return int(digits[0]) if digits else 0


def _minutes(text: str) -> int | None:
    """Minutes of "90", "24h", "1-12:00:00" or "12:00:00"; None where there is no limit."""
    if match := re.fullmatch(r"(?:(\d+)-)?(\d+):(\d+)(?::(\d+))?", text):
        days, hours, minutes, _ = (int(g or 0) for g in match.groups())
        return 1440 * days + 60 * hours + minutes
    if match := re.fullmatch(r"(\d+)\s*([dhm]?)", text):
        return int(match[1]) * {"d": 1440, "h": 60, "m": 1, "": 1}[match[2]]
    return None


def _gpus(gres: str) -> int:
    """Most GPUs of one entry such as "gpu:h200:2(S:0)"."""
    return max((int(n) for n in re.findall(r"gpu(?::[^:,\s(]+)?:(\d+)", gres)), default=0)
