"""The preflight against commands that only pretend to be SLURM's, and the profile that it reads."""

import itertools
import os
import re
from pathlib import Path

import pytest
import yaml

from driftrates.pipeline import cluster, cost, preflight
from driftrates.pipeline.preflight import Need

ROOT = Path(__file__).parents[2]
PROFILE = """
slurm-partition-config: {file}
slurm-status-command: squeue
slurm-init-seconds-before-status-checks: 20
default-resources:
  mem_mb: 1000
{more}
"""
PARTITIONS = "partitions:\n  cpu: {max_runtime: 12h}\n  gpu: {max_runtime: 12h, max_gpu: 2}\n"
SHOWN = """PartitionName=cpu Default=YES MaxTime=1-00:00:00 State=UP
PartitionName=gpu MaxTime=12:00:00 State=UP
PartitionName=old MaxTime=12:00:00 State=DOWN"""
NODES = "cpu|64000|32|(null)|2|idle\ngpu|128000|16|gpu:h200:2|1|idle"
CONFIG = "MinJobAge               = 300 sec\nAccountingStorageType   = accounting_storage/none\n"
ACCOUNTED = "MinJobAge = 300 sec\nAccountingStorageType = accounting_storage/slurmdbd\nAccountingStorageEnforce = associations,limits\n"
SMALL = Need("measure_rates", memory=2000, runtime=60, threads=4, gpus=0)
GPU = Need("simulate_flow", memory=3000, runtime=600, threads=4, gpus=1)


class Machine:
    """A PATH of fake commands, a profile and a folder for results."""

    def __init__(self, folder):
        self.folder, self.bin, self.profile = folder, folder / "bin", folder / "profile"
        self.bin.mkdir()
        self.profile.mkdir()
        self.partitions(PARTITIONS)
        self.settings()
        for name in ("sbatch", "scancel"):
            self.command(name, "exit 0")
        self.command("squeue", "exit 0")
        self.command("sinfo", f"cat <<'EOF'\n{NODES}\nEOF")
        self.scontrol()
        self.srun("echo shared; echo cuda True")

    def command(self, name, script):
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def scontrol(self, shown=SHOWN, config=CONFIG):
        self.command("scontrol", f"case \"$*\" in *partition*) cat <<'EOF'\n{shown}\nEOF\n;; *) cat <<'EOF'\n{config}\nEOF\n;; esac")

    def srun(self, script):
        self.command("srun", script)

    def settings(self, more=""):
        (self.profile / "profile.yaml").write_text(PROFILE.format(file=self.profile / "partitions.yaml", more=more))

    def partitions(self, text):
        (self.profile / "partitions.yaml").write_text(text)

    def preflight(self, *needs, **options):
        return preflight.preflight(self.profile, self.folder / "results", needs or (SMALL, GPU), **options)

    def missing(self, *needs, **options):
        return [f"{f.what} -> {f.remedy}" for f in self.preflight(*needs, **options) if f.level == "missing"]


@pytest.fixture
def machine(tmp_path, monkeypatch):
    machine = Machine(tmp_path)
    monkeypatch.setenv("PATH", f"{machine.bin}:/usr/bin:/bin")
    real = preflight.shutil.which
    # A machine on which SLURM is installed must not help the fakes.
    monkeypatch.setattr(preflight.shutil, "which", lambda name: real(name, path=str(machine.bin)))
    monkeypatch.setattr(preflight.importlib.util, "find_spec", lambda name: object())
    return machine


def test_nothing_is_missing_on_a_good_cluster(machine):
    assert machine.missing() == []
    findings = machine.preflight()
    assert sum(f.level == "ok" for f in findings) >= 8
    assert any("with CUDA" in f.what for f in findings)


CASES = {
    "no plugin": (
        lambda m, p: p.setattr(preflight.importlib.util, "find_spec", lambda name: None),
        "pip install -c envs/pins.txt -e '.[slurm]'",
    ),
    "no sbatch": (lambda m, p: (m.bin / "sbatch").unlink(), "no command sbatch on PATH"),
    "no squeue": (lambda m, p: (m.bin / "squeue").unlink(), "no command squeue on PATH"),
    "no controller": (lambda m, p: m.command("scontrol", "exit 1"), "controller does not answer"),
    "no profile": (lambda m, p: (m.profile / "profile.yaml").unlink(), "profile"),
    "unknown partition": (lambda m, p: m.partitions("partitions: {fast: {}}"), "there is no partition fast -> correct"),
    "partition down": (lambda m, p: m.partitions("partitions: {old: {max_gpu: 1}}"), "the partition old is DOWN"),
    "time limit": (lambda m, p: m.partitions("partitions: {gpu: {max_runtime: 2d, max_gpu: 2}}"), "ends jobs after 12:00:00, before 2d"),
    "no gres": (lambda m, p: m.partitions("partitions: {cpu: {max_gpu: 2}}"), "has no GPU that SLURM knows of"),
    "no partition with GPUs": (lambda m, p: m.partitions("partitions: {cpu: {}}"), "no partition of the profile has a node with 1 GPUs"),
    "account unknown to the cluster": (
        lambda m, p: m.settings("  slurm_account: mine"),
        "keeps none -> put a comment before slurm_account",
    ),
    "account wanted": (lambda m, p: m.scontrol(config=ACCOUNTED), "wants an account, and the profile names none"),
    "no shared folder": (lambda m, p: m.srun("echo cuda True"), "does not see"),
    "no CUDA": (lambda m, p: m.srun("echo shared; echo cuda False"), "a node of gpu has no usable CUDA"),
    "no environment on the nodes": (lambda m, p: m.srun("echo shared"), "cannot run"),
    "sacct that does not answer": (
        lambda m, p: (m.scontrol(config=CONFIG.replace("300", "30")), m.command("sacct", "exit 1")),
        "the run would never end -> slurm-init-seconds-before-status-checks: 10",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_missing_is_said_with_its_remedy(machine, monkeypatch, name):
    spoil, message = CASES[name]
    spoil(machine, monkeypatch)
    missing = machine.missing()
    assert [m for m in missing if message in m], missing
    assert all(" -> " in m and not m.endswith("-> ") for m in missing)


def test_an_account_of_someone_else(machine):
    machine.scontrol(config=ACCOUNTED)
    machine.command("sacctmgr", "echo theirs; echo ours")
    machine.settings("  slurm_account: mine")
    assert machine.missing() == ["the account mine is not yours; yours: ours, theirs -> correct slurm_account"]
    machine.settings("  slurm_account: ours")
    assert machine.missing() == []


@pytest.mark.parametrize(
    ("need", "message"),
    [
        (Need("measure_rates", 200_000, 60, 1, 0), "asks for 200000 MB; a node of cpu, gpu has 128000"),
        (Need("simulate_flow", 100_000, 60, 20, 1), "asks for 20 CPUs; a node of gpu has 16"),
        (Need("measure_rates", 1000, 2000, 1, 0), "asks for 2000 minutes; cpu, gpu allows 1440"),
        (Need("simulate_flow", 1000, 60, 1, 3), "no partition of the profile has a node with 3 GPUs for simulate_flow"),
    ],
)
def test_jobs_larger_than_the_cluster(machine, need, message):
    assert any(message in m for m in machine.missing(need)), machine.missing(need)


def test_the_profile_changes_what_is_asked_for(machine):
    large = Need("measure_rates", 200_000, 3000, 20, 0)
    assert len(machine.missing(large)) == 2
    machine.settings("set-resources: {measure_rates: {mem_mb: 2000, runtime: 12h}}\nset-threads: {measure_rates: 4}")
    assert machine.missing(large) == []
    assert any("fits: 2000 MB, 720 minutes, 4 CPUs" in f.what for f in machine.preflight(large))
    machine.settings("set-resources: {measure_rates: {mem_mb: 900000 * attempt}}")
    assert any("asks for 900000 MB" in m for m in machine.missing(large))
    machine.settings('set-resources: {simulate_flow: {gpu: 0, gres: "gpu:h200:3"}}')
    assert any("no partition of the profile has a node with 3 GPUs" in m for m in machine.missing(GPU))
    machine.partitions("partitions: {cpu: {}}")
    machine.settings("set-resources: {simulate_flow: {gpu: 0}}")
    assert machine.missing(GPU) == []


def test_a_profile_without_a_file_of_partitions(machine):
    """What the cluster itself says of the partitions that are named, else of its default one, is then all that is known."""
    settings = machine.profile / "profile.yaml"
    text = settings.read_text().replace("slurm-partition-config", "# ")
    settings.write_text(text)
    assert machine.missing(SMALL) == []
    assert any("no partition of the profile has a node with 1 GPUs" in m for m in machine.missing(GPU))
    settings.write_text(text.replace("mem_mb: 1000", "slurm_partition: gpu"))
    assert machine.missing(SMALL, GPU) == []
    settings.write_text(text + "set-resources: {simulate_flow: {slurm_partition: gpu}}")
    assert machine.missing(GPU) == []


def test_a_folder_that_cannot_be_written_is_a_finding(machine, monkeypatch):
    monkeypatch.setattr(preflight.os, "access", lambda *_: False)
    monkeypatch.setattr(preflight.Path, "touch", lambda path: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    assert [m for m in machine.missing() if "cannot be written -> run the workflow in a folder of your own" in m]


def test_a_busy_partition_is_a_note(machine):
    machine.command("sinfo", "echo 'cpu|64000|32|(null)|2|allocated'; echo 'gpu|128000|16|gpu:h200:2|1|mixed'")
    machine.srun("echo 'srun: error: Unable to allocate resources' >&2; exit 1")
    notes = [f.what for f in machine.preflight() if f.level == "note"]
    assert machine.missing() == []
    assert any("no node of the partition cpu is free now" in n for n in notes)
    assert any("no answer from a node of gpu" in n for n in notes)


def test_room_on_the_disk(machine):
    assert any("MB left" in m for m in machine.missing(disk_mb=10**9))


def test_the_folder_of_the_results_is_left_as_it_was(machine):
    machine.preflight()
    assert not (machine.folder / "results").exists()
    assert {p.name for p in machine.folder.iterdir()} == {"bin", "profile"}


@pytest.mark.parametrize(
    ("text", "minutes"), [("1-12:30:00", 2190), ("12:00:00", 720), ("24h", 1440), ("2d", 2880), ("90", 90), ("UNLIMITED", None), ("", None)]
)
def test_minutes(text, minutes):
    assert preflight._minutes(text) == minutes


def profile(name):
    text = (ROOT / f"profiles/{name}/profile.yaml").read_text()
    return text, yaml.safe_load(text)


def test_the_profile_gives_a_reason_for_each_value():
    for text in (profile("slurm")[0], (ROOT / "profiles/slurm/partitions.yaml").read_text()):
        lines = text.splitlines()
        bare = [line for above, line in itertools.pairwise(lines) if line and not line.lstrip().startswith("#") and "#" not in above]
        assert bare == [] and len(lines) > 5


def test_the_profile_holds_the_values_of_the_default_one_but_no_limit_of_gpus():
    (_, default), (_, slurm) = profile("default"), profile("slurm")
    assert {key: slurm[key] for key in default if key not in ("resources", "cores")} == {
        key: value for key, value in default.items() if key not in ("resources", "cores")
    }
    assert "resources" not in slurm, "a global number of GPUs would serialise the cluster"
    assert slurm["slurm-status-command"] == "squeue"
    assert {"mem_mb", "runtime"} <= slurm["default-resources"].keys()
    assert all("attempt" in str(v) for v in slurm["default-resources"].values())
    assert slurm["default-resources"]["runtime"].startswith(f"min({cost.STAGE_MINUTES} * attempt")


def test_each_line_offered_as_a_comment_is_a_setting():
    text, settings = profile("slurm")
    offered = re.findall(r"^( *)# (\w[\w-]*: .*)$", text, re.MULTILINE)
    assert [yaml.safe_load(line) for _, line in offered] == [
        {"slurm_account": "my_account"},
        {"set-resources": {"simulate_flow": {"gpu": 0, "gres": "gpu:1"}}},
    ]
    for indent, line in offered:
        changed = yaml.safe_load(text.replace(f"{indent}# {line}", f"{indent}{line}"))
        assert changed != settings
        assert "slurm_account" in changed["default-resources"] or "set-resources" in changed


def test_the_command_line(machine, capsys, monkeypatch):
    monkeypatch.chdir(machine.folder)
    arguments = ["preflight", "--profile", str(machine.profile), "--need=measure_rates,2000,60,4,0", "--need=simulate_flow,3000,600,4,1"]
    assert cluster.main(arguments) == 0
    assert capsys.readouterr().out.endswith("Nothing is missing.\n")
    assert cluster.main([*arguments, "--need=measure_rates,900000,60,4,0"]) == 1
    out = capsys.readouterr().out
    assert "missing measure_rates asks for 900000 MB" in out
    assert out.endswith("1 missing\n")


def test_the_fakes_are_used(machine):
    assert os.environ["PATH"].startswith(str(machine.bin))
    assert preflight.shutil.which("sacct") is None
