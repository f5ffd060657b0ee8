"""Interrupted simulations: whatever was interrupted and resumed ends in the bytes of the undisturbed run, and nothing else is trusted."""

import itertools
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from driftrates import simulate, store
from driftrates.checkpoints import CheckpointFile
from driftrates.sums import cuda
from problems import LEAVE_ONE_OUT, gaussian_start, problem

DATA = {"target": {"data": {"name": "thin_horizontal", "size": 24}}}
SEED = 7

CASES = {
    "dormand_prince": {"entropy": True, "integrator": {"rtol": 1e-6, "atol": 1e-8}},
    "rkc": {"n_particles": 8, "integrator": {"method": "rkc", "rtol": 1e-4, "atol": 1e-5}},
    "euler": {"n_particles": 8, "integrator": {"method": "euler", "step": 0.03}},
    "single precision": {"n_particles": 8, "dtype": "float32", "integrator": {"rtol": 1e-4, "atol": 1e-5}},
    "leave-one-out": {**DATA, **LEAVE_ONE_OUT, "entropy": True, "start": gaussian_start([1.5, 0.8])},
}
experiment = partial(
    problem, name="trial", bandwidth=[0.5, 0.8], n_particles=[8, 13], replicates=2, times={"stop": 0.2, "count": 5}, keep_clouds=3
)
CELLS, TIMES = 4, 5


class Interrupted(Exception):
    pass


class Dies(CheckpointFile):
    """Writes at every output time and kills the simulation after ``after`` of them; ``seen`` are the positions recorded."""

    def __init__(self, path, after=None, parameters=None):
        super().__init__(path, parameters or {"seed": SEED}, seconds=1e-9)
        self.after, self.seen = after, []

    def save(self, position, record, results):
        super().save(position, record, results)
        self.seen.append(position)
        if len(self.seen) == self.after:
            raise Interrupted


def bytes_of(flow, path):
    store.write(flow, path, title="A flow", digest="abc", params={})
    return path.read_bytes()


def interrupt(spec, path, after, **options):
    with pytest.raises(Interrupted):
        simulate.simulate_flow(spec, seed=SEED, checkpoint=Dies(path, after), **options)
    assert path.exists()


def undisturbed(spec, tmp_path):
    return bytes_of(simulate.simulate_flow(spec, seed=SEED), tmp_path / "undisturbed.nc")


@pytest.mark.parametrize("case", CASES)
def test_interrupted_at_every_output_time_it_ends_in_the_same_bytes(tmp_path, case, capsys):
    spec = experiment(**CASES[case])
    expected = undisturbed(spec, tmp_path)
    every = Dies(tmp_path / "whole.checkpoint")
    assert bytes_of(simulate.simulate_flow(spec, seed=SEED, checkpoint=every), tmp_path / "watched.nc") == expected
    assert every.seen == list(itertools.product(range(2), range(np.size(spec["n_particles"])), range(TIMES)))
    for after in range(1, len(every.seen) + 1):
        path = tmp_path / f"{after}.checkpoint"
        interrupt(spec, path, after)
        capsys.readouterr()
        rest = Dies(path)
        assert bytes_of(simulate.simulate_flow(spec, seed=SEED, checkpoint=rest), tmp_path / "resumed.nc") == expected, after
        assert rest.seen == every.seen[after:]
        assert ("going on at time" in capsys.readouterr().out) == (after % TIMES != 0)


def test_interrupted_again_and_again(tmp_path):
    """One output time per life."""
    spec, path = experiment(**CASES["dormand_prince"]), tmp_path / "a.checkpoint"
    for _ in range(CELLS * TIMES):
        interrupt(spec, path, 1)
    assert bytes_of(simulate.simulate_flow(spec, seed=SEED, checkpoint=Dies(path)), tmp_path / "a.nc") == undisturbed(spec, tmp_path)


def test_resumed_with_another_number_of_threads(tmp_path, threads):
    spec = experiment(n_particles=[300, 100], replicates=2, times={"stop": 0.02, "count": 3}, integrator={"method": "euler", "step": 0.005})
    results = set()
    for before, after in ((1, 1), (1, 3), (3, 1)):
        path = tmp_path / f"{before}{after}.checkpoint"
        threads(before)
        interrupt(spec, path, 2)
        threads(after)
        results.add(bytes_of(simulate.simulate_flow(spec, seed=SEED, checkpoint=Dies(path)), tmp_path / "a.nc"))
    assert results == {undisturbed(spec, tmp_path)}


@pytest.mark.skipif(not cuda.available(), reason="no GPU")
def test_resumed_on_the_device(tmp_path):
    spec, path = experiment(entropy=True), tmp_path / "a.checkpoint"
    expected = bytes_of(simulate.simulate_flow(spec, seed=SEED, device="gpu"), tmp_path / "undisturbed.nc")
    for after in (1, 7, 14):
        interrupt(spec, path, after, device="gpu")
        flow = simulate.simulate_flow(spec, seed=SEED, device="gpu", checkpoint=Dies(path))
        assert bytes_of(flow, tmp_path / "a.nc") == expected
        path.unlink()


# what is not trusted ----------------------------------------------------------------------------------------------

KEY = {"experiment": {"bandwidth": 0.5, "name": "trial"}, "seed": 7, "digest": "abc", "device": "cpu", "versions": "numpy 2.4"}


def begins_anew(spec, path, capsys, reason, parameters=None):
    """A file that is ignored, with one line that says why; the result is that of the undisturbed run."""
    capsys.readouterr()
    keeper = Dies(path, parameters=parameters)
    flow = simulate.simulate_flow(spec, seed=SEED, checkpoint=keeper)
    lines = [line for line in capsys.readouterr().out.splitlines() if str(path) in line]
    assert len(lines) == 1 and lines[0].startswith(f"checkpoint {path} ignored: ") and reason in lines[0]
    assert keeper.seen[0] == (0, 0, 0)
    return flow


@pytest.mark.parametrize(
    "changed",
    [{"seed": 8}, {"digest": "abd"}, {"device": "H200"}, {"versions": "numpy 2.5"}, {"experiment": {"bandwidth": 0.6, "name": "trial"}}],
    ids=lambda changed: next(iter(changed)),
)
def test_other_parameters_are_not_resumed(tmp_path, capsys, changed):
    spec, path = experiment(n_particles=8, bandwidth=0.5), tmp_path / "a.checkpoint"
    with pytest.raises(Interrupted):
        simulate.simulate_flow(spec, seed=SEED, checkpoint=Dies(path, 3, KEY))
    before = path.read_bytes()
    begins_anew(spec, path, capsys, "other parameters", KEY | changed)
    path.write_bytes(before)
    same = Dies(path, parameters=dict(reversed(KEY.items())))
    simulate.simulate_flow(spec, seed=SEED, checkpoint=same)
    assert same.seen == [(0, 0, 3), (0, 0, 4)]


def damages(content):
    rng = np.random.default_rng(1)
    yield b""
    yield b"PK\x03\x04 not ours"
    for share in (0.001, 0.01, 0.3, 0.9):
        yield content[: int(share * len(content))]
    yield content[:-1]
    yield content + b"\0"
    for place in rng.integers(len(content), size=40):
        yield content[:place] + bytes([content[place] ^ 1 << int(rng.integers(8))]) + content[place + 1 :]


def test_a_damaged_file_is_not_resumed(tmp_path, capsys):
    spec, path = experiment(n_particles=8, bandwidth=0.5, replicates=1, keep_clouds=2), tmp_path / "a.checkpoint"
    expected = undisturbed(spec, tmp_path)
    interrupt(spec, path, 3)
    content = path.read_bytes()
    for damaged in damages(content):
        path.write_bytes(damaged)
        key = content[24:56] == damaged[24:56]
        flow = begins_anew(spec, path, capsys, "damaged or no checkpoint" if key else "")
        assert bytes_of(flow, tmp_path / "a.nc") == expected


def test_a_file_that_cannot_be_read_is_not_resumed(tmp_path, capsys):
    path = tmp_path / "a.checkpoint"
    path.mkdir()
    assert Dies(path).restore({}) is None
    assert "cannot be read (Is a directory)" in capsys.readouterr().out


# when and where it is written -------------------------------------------------------------------------------------


def test_intervals_are_told_by_a_clock_that_does_not_jump(tmp_path, monkeypatch):
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(time, "time", lambda: pytest.fail("the time of day is no measure of an interval"))
    spec, keeper = experiment(n_particles=8, bandwidth=0.5), CheckpointFile(tmp_path / "a.checkpoint", {}, seconds=300)
    simulate.simulate_flow(spec, seed=SEED, checkpoint=keeper)
    assert not keeper.due() and not keeper.path.exists()
    now += 299.9
    assert not keeper.due()
    now += 0.1
    assert keeper.due()
    simulate.simulate_flow(spec, seed=SEED, checkpoint=keeper)
    assert not keeper.due() and keeper.path.exists()


def test_zero_seconds_neither_write_nor_read(tmp_path):
    spec, path = experiment(n_particles=8, bandwidth=0.5), tmp_path / "a.checkpoint"
    interrupt(spec, path, 3)
    before = path.read_bytes()
    never = CheckpointFile(path, {"seed": SEED}, seconds=0)
    assert not never.due() and never.restore({}) is None
    simulate.simulate_flow(spec, seed=SEED, checkpoint=never)
    assert path.read_bytes() == before


def test_a_disk_without_room_does_not_stop_the_simulation(tmp_path, capsys):
    """A folder in place of the checkpoint takes no file."""
    spec, path = experiment(n_particles=8, bandwidth=0.5), tmp_path / "file/a.checkpoint"
    path.parent.touch()
    flow = simulate.simulate_flow(spec, seed=SEED, checkpoint=Dies(path))
    assert bytes_of(flow, tmp_path / "a.nc") == undisturbed(spec, tmp_path)
    assert capsys.readouterr().out.count("no checkpoint: ") == TIMES


def test_a_removed_file_is_gone_and_may_be_removed_again(tmp_path):
    path = tmp_path / "folder/a.checkpoint"
    interrupt(experiment(n_particles=8, bandwidth=0.5), path, 2)
    assert [p.name for p in path.parent.iterdir()] == ["a.checkpoint"]
    for _ in range(2):
        Dies(path).remove()
        assert not path.exists()


def test_a_process_killed_while_it_writes_leaves_the_older_file(tmp_path):
    """SIGKILL with the temporary file half written: the next life removes it, and goes on from the older checkpoint."""
    spec, path = experiment(n_particles=8, bandwidth=0.5), tmp_path / "a.checkpoint"
    interrupt(spec, path, 2)
    before = path.read_bytes()
    code = f"""import os, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from driftrates import store
with store.replacing(sys.argv[1]) as temporary:
    temporary.write_bytes(Path(sys.argv[1]).read_bytes()[:500])
    os.kill(os.getpid(), 9)"""
    assert subprocess.run([sys.executable, "-c", code, str(path)]).returncode == -9
    left = [p.name for p in tmp_path.iterdir()]
    assert len(left) == 2 and path.read_bytes() == before
    alive = tmp_path / left[left[0] == "a.checkpoint"].replace(left[left[0] == "a.checkpoint"].split(".")[-2], str(os.getppid()))
    alive.touch()
    rest = Dies(path)
    assert bytes_of(simulate.simulate_flow(spec, seed=SEED, checkpoint=rest), tmp_path / "a.nc") == undisturbed(spec, tmp_path)
    assert rest.seen[0] == (0, 0, 2)
    # What belongs to a process that lives is not touched.
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([alive.name, "a.checkpoint", "a.nc", "undisturbed.nc"])
