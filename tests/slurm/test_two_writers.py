"""Two processes that write one output at a time: what a reader finds is always one of the two, whole."""

import subprocess
import sys
import time

import pytest

WRITER = """
import sys, time
from driftrates import store

path, letter, pause = sys.argv[1], sys.argv[2], float(sys.argv[3])
for _ in range(int(sys.argv[4])):
    with store.replacing(path) as temporary:
        with open(temporary, "w") as stream:
            for _ in range(20):
                stream.write(letter * 5000)
                stream.flush()
                time.sleep(pause)
"""
WHOLE = {letter * 100_000 for letter in "ab"}


def writer(path, letter, pause, times):
    return subprocess.Popen([sys.executable, "-c", WRITER, str(path), letter, str(pause), str(times)])


def test_a_reader_never_finds_a_mixture(tmp_path):
    path = tmp_path / "output.txt"
    writers = [writer(path, "a", 0.005, 20), writer(path, "b", 0.002, 50)]
    found, names = set(), set()
    try:
        while any(w.poll() is None for w in writers):
            names |= {p.name for p in tmp_path.iterdir()}
            if path.exists():
                text = path.read_text()
                assert text in WHOLE, f"{len(text)} characters: {sorted(set(text))}"
                found.add(text[0])
            time.sleep(0.001)
    finally:
        for w in writers:
            w.kill() if w.poll() is None else None
            w.wait()
    assert [w.returncode for w in writers] == [0, 0]
    assert found == {"a", "b"}
    assert len(names) == 3, "each writer had a temporary file of its own"
    assert [p.name for p in tmp_path.iterdir()] == ["output.txt"]
    assert path.read_text() in WHOLE


HELD = """
import sys, time
from pathlib import Path
from driftrates import store

path, letter = sys.argv[1:]
with store.replacing(path) as temporary:
    temporary.write_text(letter * 100_000)
    Path(letter + ".ready").touch()
    while not Path(letter + ".go").exists():
        time.sleep(0.01)
"""


class Held:
    """A writer that waits, its temporary file full, until it is told to go on."""

    def __init__(self, folder, letter, *inside):
        self.folder, self.letter = folder, letter
        self.process = subprocess.Popen([*inside, sys.executable, "-c", HELD, "output.txt", letter], cwd=folder, stderr=subprocess.PIPE)

    def ready(self):
        """Whether it waits; not, if it ended instead."""
        while not (self.folder / f"{self.letter}.ready").exists():
            if self.process.poll() is not None:
                return False
            time.sleep(0.01)
        return True

    def go_on(self):
        (self.folder / f"{self.letter}.go").touch()
        _, messages = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, messages.decode()


@pytest.fixture
def held(tmp_path):
    started = []
    yield lambda *arguments: started.append(Held(tmp_path, *arguments)) or started[-1]
    for writer in started:
        writer.process.kill()
        writer.process.communicate()


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_the_last_to_finish_stays(tmp_path, held, order):
    writers = {letter: held(letter) for letter in "ab"}
    assert writers["a"].ready() and writers["b"].ready()
    for letter in order:
        writers[letter].go_on()
        assert (tmp_path / "output.txt").read_text() == letter * 100_000


def test_a_writer_in_a_container_with_the_name_of_this_host_is_left_alone(tmp_path, held):
    """Its process number means nothing here: no such process runs, or another one does."""
    inside = held("a", "unshare", "--map-root-user", "--pid", "--fork", "--kill-child")
    if not inside.ready():
        pytest.skip(f"this machine lets no test make a process namespace: {inside.process.communicate()[1].decode()}")
    outside = held("b")
    assert outside.ready()
    outside.go_on()
    inside.go_on()
    assert (tmp_path / "output.txt").read_text() == "a" * 100_000


def test_a_killed_writer_leaves_the_older_file(tmp_path):
    path = tmp_path / "output.txt"
    path.write_text("older")
    slow = writer(path, "a", 0.1, 1)
    end = time.monotonic() + 30
    while len(list(tmp_path.iterdir())) == 1:
        assert time.monotonic() < end
        time.sleep(0.01)
    slow.kill()
    slow.wait()
    assert path.read_text() == "older"
