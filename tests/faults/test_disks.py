"""A disk without room and one that takes no writes, mounted as results/."""

import re

from driftrates import store
from workflows import stages

MESSAGE = re.compile(
    r"^(\w+ \w+) failed: OSError: cannot write (results/\S+): .*; is there room and permission in results/\S+ \(0\.\d MB free\)\? "
    r"\(log: results/logs/\S+\.log\)$",
    re.MULTILINE,
)


def test_a_full_disk_names_file_and_remedy_and_completes_after_room_is_made(workflow, finished, in_own_mounts):
    """Room for one of three flows of 52 kB, and for the logs."""
    script = """
mount -t tmpfs -o size=100k tmpfs results
run full "$@"
cp -r results full
mount -o remount,size=64m results
run room "$@"
cp -r results room
"""
    runs = in_own_mounts(workflow, workflow.FLOWS, script)
    full, room = runs["full"], runs["room"]
    assert full.status != 0 and room.status == 0, full.log[-4000:] + room.log[-4000:]
    failed = {stage.replace(" ", "/"): path for stage, path in MESSAGE.findall(full.log)}
    assert len(failed) == 2
    assert {f"results/data/flow/{stage.partition('/')[2]}.nc" for stage in failed} == set(failed.values())
    assert "Traceback" not in full.log
    # What is there is whole; nothing else is there.
    kept = [p for p in (workflow.folder / "full/data").rglob("*") if p.is_file()]
    assert len(kept) == 1
    for path in kept:
        assert path.read_bytes() == finished.expected[str(path.relative_to(workflow.folder / "full"))]
    assert stages(room.log) == set(failed)
    for name in workflow.FLOWS:
        name = name.removeprefix("results/")
        assert (workflow.folder / "room" / name).read_bytes() == finished.expected[name]


def test_a_full_disk_where_even_the_log_has_no_room(workflow, finished, in_own_mounts):
    script = """
mount -t tmpfs -o size=60k tmpfs results
mkdir -p results/logs/simulate_flow results/benchmarks/simulate_flow results/data/flow
run full "$@"
find results -type f -name '*.nc' > left.txt
mount -o remount,size=64m results
run room "$@"
cp -r results room
"""
    # Fills what is left, so that not a line of a log finds room.
    script = script.replace("run full", "dd if=/dev/zero of=results/filling bs=1k count=100 2> /dev/null || true\nrun full", 1)
    script = script.replace("mount -o remount", "rm results/filling\nmount -o remount", 1)
    runs = in_own_mounts(workflow, workflow.FLOWS[:1], script)
    assert runs["full"].status != 0 and runs["room"].status == 0, runs["full"].log
    assert [path for _, path in MESSAGE.findall(runs["full"].log)] == [workflow.FLOWS[0]]
    assert "Traceback" not in runs["full"].log
    assert (workflow.folder / "left.txt").read_text() == ""
    name = workflow.FLOWS[0].removeprefix("results/")
    assert (workflow.folder / "room" / name).read_bytes() == finished.expected[name]


def test_read_only_results_are_named_before_any_work(workflow, finished, in_own_mounts):
    script = """
mount -t tmpfs -o size=64m tmpfs results
mount -o remount,ro results
run empty "$@"
mount -o remount,rw results
run writable "$@"
mount -o remount,ro results
run again "$@"
run forced "$@" --forcerun kernels
mount -o remount,rw results
cp -r results copy
"""
    runs = in_own_mounts(workflow, ["kernels"], script)
    assert (runs["empty"].status, runs["writable"].status, runs["again"].status, runs["forced"].status) == (1, 0, 0, 1)
    assert "Failed to create output directory results/data.\nOSError: [Errno 30] Read-only file system" in runs["empty"].log
    assert "Nothing to be done" in runs["again"].log
    assert "Write-protected output files for rule kernels" in runs["forced"].log and "results/tables/kernels.csv" in runs["forced"].log
    for run in runs.values():
        assert "Traceback" not in run.log
    for name in ("data/kernels.nc", "tables/kernels.csv", "tables/kernels.md", "tables/kernels.tex"):
        assert (workflow.folder / "copy" / name).read_bytes() == finished.expected[name]
    assert store.attributes(workflow.folder / "copy/data/kernels.nc")["title"]
