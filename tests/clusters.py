"""A real SLURM cluster of three nodes on this machine: controller, three node daemons, munge, two GPUs that are none."""

import contextlib
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

from workflows import ROOT, Workflow

POLLING = ROOT / "tests/slurm/polling.py"
CONFIGURATION = Path("/etc/slurm")
MARK = "# written by the tests of driftrates; they may replace and remove it\n"
PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "srun", "squeue", "scancel", "sinfo", "scontrol")
NODES = {"node1": 17001, "node2": 17002, "gpu1": 17003}

FAULTS = '''
"""Faults that a test orders by a file of the job's name in the folder `faults`."""

import time
from pathlib import Path


def strike(name):
    order = Path("faults", name)
    if not order.exists():
        return
    action, _, value = order.read_text().partition(" ")
    if action == "allocate":
        memory = bytearray(int(value) * 2**20)
        memory[::4096] = b"x" * len(memory[::4096])
        return
    order.unlink()
    Path("faults", name + ".struck").touch()
    if action == "fail":
        raise RuntimeError("ordered by a test")
    end = time.monotonic() + 300
    while time.monotonic() < end and not Path("faults", value).exists():
        time.sleep(0.1)
'''


class Submitted(Workflow):
    """A copy of the workflow for a cluster, whose stages obey the orders in its folder `faults`."""

    @classmethod
    def fresh(cls, folder):
        workflow = super().fresh(folder)
        (folder / "workflow/scripts/_faults.py").write_text(FAULTS)
        call = "        main(snakemake)\n"
        order = '        from _faults import strike\n\n        strike("-".join(_label(snakemake).split()))\n'
        workflow.edit("workflow/scripts/_stage.py", call, order + call)
        workflow.edit("profiles/slurm/partitions.yaml", "max_gpu: 8", "max_gpu: 2")
        (folder / "faults").mkdir()
        return workflow

    def order(self, job, action):
        (self.folder / "faults" / job).write_text(action)

    def struck(self, job, seconds=240):
        """Wait until the job has met its fault."""
        wait_for((self.folder / "faults" / f"{job}.struck").exists, seconds, f"{job} was not started")

    def start(self, *targets, slurm=True, arguments=()):
        """Snakemake as a process of its own group; its messages go to `run.log`."""
        command = [sys.executable, POLLING] if slurm else [sys.executable, "-m", "snakemake"]
        command += ["--workflow-profile", "profiles/slurm"] if slurm else ["--cores", "2"]
        command += ["--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "10"] if slurm else []
        with (self.folder / "run.log").open("a") as log:
            return subprocess.Popen(
                [*command, *arguments, "--config", "scale=smoke", "--", *targets],
                **self.place(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def complete(self, *targets, **options):
        """A run to its good end; returns its messages."""
        before = len(self.messages())
        process = self.start(*targets, **options)
        self.finish(process)
        return self.messages()[before:]

    def finish(self, process, seconds=600):
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise AssertionError(f"the run did not end\n{self.messages()[-4000:]}\n{squeue()}") from None
        assert code == 0, self.messages()[-6000:]

    def messages(self):
        log = self.folder / "run.log"
        return log.read_text() if log.exists() else ""

    def submitted(self):
        """How many SLURM jobs were submitted so far."""
        return len(re.findall(r"has been submitted with SLURM jobid", self.messages()))

    def dates(self):
        return {name: (self.folder / "results" / name).stat().st_mtime_ns for name in self.outputs()}


def wait_for(true, seconds, otherwise):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, otherwise() if callable(otherwise) else otherwise
        time.sleep(0.1)


def squeue():
    return subprocess.run(["squeue", "--states=all"], capture_output=True, text=True).stdout


class Cluster:
    """Starts and ends the daemons by their own process numbers."""

    def __init__(self, folder):
        self.folder, self.processes, self.devices = folder, {}, []
        self.cgroup = _memory_cgroup()

    def start(self):
        _directory("/run/munge", owner="munge")
        for node in NODES:
            (self.folder / node).mkdir()
        (self.folder / "state").mkdir()
        self.devices = [self.folder / f"device{i}" for i in range(2)]
        for device in self.devices:
            os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        CONFIGURATION.mkdir(exist_ok=True)
        for name, text in self.configuration().items():
            (CONFIGURATION / name).write_text(MARK + text)
        if not self._answers("munge", "-n"):
            self.spawn("munged", "setpriv", "--reuid=munge", "--regid=munge", "--clear-groups", "munged", "-F")
            wait_for(lambda: self._answers("munge", "-n"), 60, lambda: self.log("munged"))
        self.spawn("slurmctld", "slurmctld", "-D", "-c")
        for node in NODES:
            self.start_node(node)
        wait_for(lambda: self.states() == dict.fromkeys(NODES, "idle"), 60, lambda: self.log("slurmctld") + self.log("node1"))

    def configuration(self):
        track, task = ("proctrack/cgroup", "task/cgroup") if self.cgroup else ("proctrack/linuxproc", "task/none")
        nodes = [f"NodeName={n} NodeHostname=localhost Port={p} CPUs=8 RealMemory=24000" for n, p in NODES.items()]
        nodes[-1] += " Gres=gpu:h200:2"
        slurm = f"""ClusterName=driftrates
SlurmctldHost=localhost
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
SlurmctldPort=17817
SlurmctldPidFile={self.folder}/slurmctld.pid
SlurmdPidFile={self.folder}/slurmd.%n.pid
StateSaveLocation={self.folder}/state
SlurmdSpoolDir={self.folder}/%n
SlurmctldLogFile={self.folder}/slurmctld.log
SlurmdLogFile={self.folder}/slurmd.%n.log
ProctrackType={track}
TaskPlugin={task}
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=5,batch_sched_delay=0
SlurmdParameters=config_overrides
ReturnToService=2
SlurmdTimeout=10
KillWait=5
GresTypes=gpu
MinJobAge=900
JobAcctGatherType=jobacct_gather/linux
AccountingStorageType=accounting_storage/none
{chr(10).join(nodes)}
PartitionName=cpu Nodes=node1,node2 Default=YES MaxTime=24:00:00 State=UP
PartitionName=gpu Nodes=gpu1 MaxTime=24:00:00 State=UP
"""
        gres = f"NodeName=gpu1 Name=gpu Type=h200 File={self.folder}/device[0-1]\n"
        cgroup = (
            "CgroupPlugin=cgroup/v1\nCgroupMountpoint=/sys/fs/cgroup\nCgroupAutomount=no\nConstrainRAMSpace=yes\nConstrainSwapSpace=no\n"
        )
        return {"slurm.conf": slurm, "gres.conf": gres, **({"cgroup.conf": cgroup} if self.cgroup else {})}

    def start_node(self, node):
        self.spawn(node, "slurmd", "-N", node, "-D")

    def restore(self, node):
        self.start_node(node)
        wait_for(lambda: self.states().get(node) == "idle", 60, lambda: f"{node} did not come back\n{self.log(node)}")

    def spawn(self, name, *command):
        with (self.folder / f"{name}.out").open("a") as out:
            self.processes[name] = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)

    def lose(self, node):
        """The node's daemon is gone at once; the commands of its jobs live on."""
        process = self.processes.pop(node)
        process.kill()
        process.wait()

    def states(self):
        lines = subprocess.run(["sinfo", "-h", "-N", "-o", "%N %T"], capture_output=True, text=True).stdout.splitlines()
        return dict(line.split() for line in lines)

    def running(self, text=""):
        """(job, node) of the running jobs whose comment holds `text`."""
        lines = subprocess.run(["squeue", "-h", "-t", "RUNNING", "-o", "%i %N %k"], capture_output=True, text=True).stdout.splitlines()
        return [tuple(line.split()[:2]) for line in lines if text in line]

    def queued(self):
        return subprocess.run(["squeue", "-h", "-o", "%i"], capture_output=True, text=True).stdout.split()

    def killed_for_memory(self):
        """How many commands the limit of their job's memory ended so far."""
        logs = "".join(p.read_text(errors="replace") for p in self.folder.glob("slurmd.*.log"))
        return len(re.findall(r"Detected \d+ oom-kill event", logs))

    def clear(self):
        for job in self.queued():
            subprocess.run(["scancel", job], capture_output=True)
        with contextlib.suppress(AssertionError):
            wait_for(lambda: not self.queued(), 30, "")

    def stop(self):
        if "slurmctld" in self.processes:
            self.clear()
        for process in reversed(self.processes.values()):
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for name in ("slurm.conf", "gres.conf", "cgroup.conf"):
            if ours(CONFIGURATION / name):
                (CONFIGURATION / name).unlink()
        for device in self.devices:
            device.unlink(missing_ok=True)

    def log(self, name):
        return "".join(p.read_text(errors="replace")[-2000:] for p in sorted(self.folder.glob(f"*{name}*")) if p.suffix in (".log", ".out"))

    def _answers(self, *command):
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True).returncode == 0


def ours(path):
    return path.is_file() and path.read_text(errors="replace").startswith(MARK)


def _memory_cgroup():
    return Path("/sys/fs/cgroup/memory/memory.limit_in_bytes").exists() and Path("/sys/fs/cgroup/freezer").is_dir()


def _directory(path, owner):
    Path(path).mkdir(exist_ok=True, mode=0o755)
    account = pwd.getpwnam(owner)
    os.chown(path, account.pw_uid, account.pw_gid)


def obstacle():
    """Why no cluster can be started here, or nothing."""
    missing = [p for p in PROGRAMS if shutil.which(p) is None]
    if missing:
        return f"no SLURM here ({', '.join(missing)}): apt-get install slurmctld slurmd slurm-client munge"
    if os.geteuid() != 0:
        return "the daemons of SLURM need root"
    foreign = [str(CONFIGURATION / n) for n in ("slurm.conf", "gres.conf", "cgroup.conf")]
    foreign = [n for n in foreign if Path(n).exists() and not ours(Path(n))]
    if foreign:
        return f"{foreign[0]} is not of these tests: a cluster of someone's own"
    return None
