"""Before and after a run on a SLURM cluster: what is missing for it, and how a killed submission is put right.

``python -m driftrates.pipeline.cluster preflight`` and ``recover``; `snakemake preflight` and `snakemake recover --nolock` call them.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from driftrates.pipeline.preflight import Need, call, preflight

RUN_ID, HOST = re.compile(r"SLURM run ID: (\S+)"), re.compile(r"(?m)^\s*Host: (\S+)$")
"""In the log of a run: the name of its jobs, and the machine that submitted them."""


def recover(
    folder: Path,
    *,
    patience: float = 120.0,
    any_host: bool = False,
    command: Sequence[str] = (sys.executable, "-m", "snakemake"),
) -> list[str]:
    """Put right what a killed submission left in ``folder``: cancel its jobs, wait until they are gone, take off the lock.

    Returns what was done. The next run makes again what was cut off (``rerun-incomplete`` of the profiles) and keeps the rest.
    Raises ``RuntimeError`` where Snakemake still runs in the folder, or may run on another machine (unless ``any_host``), where SLURM
    does not say which jobs live, or jobs do not end within ``patience`` seconds.
    """
    alive = _running_in(folder)
    if alive:
        raise RuntimeError(f"Snakemake still runs in {folder} (process {alive[0]}): end it first; an interrupt (Ctrl-C) cancels its jobs")
    done, runs = [], _runs(folder / ".snakemake/log")
    jobs, locks = _queued(runs), list((folder / ".snakemake/locks").glob("*"))
    elsewhere = {runs[name] for name in [*jobs, *list(runs)[:1]]} - {platform.node(), ""}
    if (jobs or locks) and elsewhere and not any_host:
        raise RuntimeError(
            f"the run was started on {min(elsewhere)}, and whether it still runs there cannot be seen from here: recover there; "
            "where that machine is gone, `python -m driftrates.pipeline.cluster recover --any-host`"
        )
    for name, count in jobs.items():
        call("scancel", "--name", name)
        end = time.monotonic() + patience
        while _queued([name]):
            if time.monotonic() > end:
                raise RuntimeError(f"jobs of the run {name} do not end; see `squeue --name {name}` and ask the administrators")
            time.sleep(0.5)
        done.append(f"cancelled {count} job{'s' * (count > 1)} of the run {name}")
    if locks:
        unlocked = subprocess.run([*command, "--unlock"], cwd=folder, capture_output=True, text=True)
        if unlocked.returncode:
            raise RuntimeError(f"snakemake --unlock failed: {unlocked.stderr.strip()[-500:]}")
        done.append("took off the lock")
    return done


def _running_in(folder: Path) -> list[int]:
    """Processes of this machine that run Snakemake in ``folder``, without this one and those that started it."""
    own, pid = set(), os.getpid()
    while pid > 1:
        own.add(pid)
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError, ValueError):
            break
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = entry.joinpath("cmdline").read_bytes().split(b"\0")
            here = entry.joinpath("cwd").resolve() == folder.resolve()
        except OSError:
            continue
        # A job's own Snakemake says --mode; it ends with its job.
        if here and int(entry.name) not in own and b"snakemake" in map(os.path.basename, words[:4]) and b"--mode" not in words:
            found.append(int(entry.name))
    return found


def _runs(logs: Path) -> dict[str, str]:
    """Names of the jobs of every run that is on record here, the newest first, with the machine that submitted them; a name is a UUID that
    no other run has."""
    texts = [f.read_text(errors="replace") for f in sorted(logs.glob("*.log"), key=lambda p: p.stat().st_mtime, reverse=True)]
    return {name: "".join(HOST.findall(text)[:1]) for text in texts for name in RUN_ID.findall(text)}


def _queued(names: Iterable[str]) -> Counter[str]:
    """How many jobs of each of these names SLURM has. Raises ``RuntimeError`` where it does not answer."""
    names = list(names)
    if not names:
        return Counter()
    try:
        done = subprocess.run(
            ["squeue", "--noheader", "--format", "%j", "--name", ",".join(names)], capture_output=True, text=True, timeout=60, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        why = " ".join((getattr(error, "stderr", None) or str(error)).split())
        raise RuntimeError(
            f"jobs of earlier runs may live, and squeue does not say so ({why}): recover where it answers, or, where they are gone, "
            "take off the lock with `snakemake --unlock`"
        ) from None
    return Counter(done.stdout.split())


def _need(text: str) -> Need:
    stage, *numbers = text.split(",")
    return Need(stage, *(int(part) for part in numbers))


def main(arguments: Iterable[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m driftrates.pipeline.cluster", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    before = commands.add_parser("preflight", help="say what is missing for a run on this cluster")
    before.add_argument("--profile", type=Path, default=Path("profiles/slurm"))
    before.add_argument("--results", type=Path, default=Path("results"))
    before.add_argument("--need", type=_need, action="append", default=[], metavar="STAGE,MB,MINUTES,THREADS,GPUS")
    before.add_argument("--disk", type=int, default=0, metavar="MB")
    before.add_argument("--no-nodes", action="store_true", help="start no short job on the partitions")
    after = commands.add_parser("recover", help="cancel the jobs of a killed run in this folder and take off its lock")
    after.add_argument("--patience", type=float, default=120.0, metavar="SECONDS")
    after.add_argument("--any-host", action="store_true", help="also where another machine started the run; it must not run there any more")
    given = parser.parse_args(None if arguments is None else list(arguments))
    if given.command == "recover":
        try:
            done = recover(Path.cwd(), patience=given.patience, any_host=given.any_host)
        except RuntimeError as error:
            print(f"recover: {error}", file=sys.stderr)
            return 1
        print("\n".join(done or ["nothing to put right"]))
        print("Run your command again; what was finished is kept.")
        return 0
    findings = preflight(given.profile, given.results, given.need, disk_mb=given.disk, ask_nodes=not given.no_nodes)
    for finding in findings:
        print(f"{finding.level:8s}{finding.what}" + (f"\n{'':8s}  -> {finding.remedy}" if finding.remedy else ""))
    missing = sum(finding.level == "missing" for finding in findings)
    print(f"{missing} missing" if missing else "Nothing is missing.")
    return int(missing > 0)


if __name__ == "__main__":
    sys.exit(main())
