"""Machine instructions per pair of the loop over the sources: `python benchmarks/instructions.py`.

    python benchmarks/instructions.py               of the direct engine and of native.cpp, in the code that they run here
    python benchmarks/instructions.py --executed    also as executed: by perf where the machine counts, else by valgrind

The code is read as text: the innermost loop is the block that jumps to itself, and its instructions, those of the loop itself included,
are divided by the pairs that it treats at a time. Valgrind 3.19 knows no AVX-512: under it the engine runs its code for AVX2, and
native.cpp, which has no other, is left out.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import peers  # noqa: E402

from driftrates import kernels  # noqa: E402
from driftrates.performance import passes  # noqa: E402
from driftrates.sums import cpu, machine, vector_ir  # noqa: E402
from driftrates.sums.program import compile_terms  # noqa: E402

TERMS = ("k", "kz", "gzz")


def innermost(assembly: str) -> list[str]:
    """Instructions of the vectorised block that jumps to itself, in AT&T syntax. Raises ``ValueError`` where there is not one such."""
    blocks: dict[str, list[str]] = {}
    name = ""
    for line in assembly.split("\n"):
        if label := re.match(r"(\.?\w+):", line):
            name = label[1]
        elif re.match(r"\t[a-z]", line):
            blocks.setdefault(name, []).append(line.strip())
    own = [b for n, b in blocks.items() if any(re.fullmatch(rf"j\w+\s+{re.escape(n)}", t) for t in b) and any(t[0] == "v" for t in b)]
    if len(own) != 1:
        raise ValueError(f"{len(own)} innermost loops instead of one")
    return own[0]


def engine_assembly(d: int, dtype: str) -> str:
    """Code of the direct engine for this host, as compiled by `driftrates.sums.machine`."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    features = machine.features()
    target = llvm.Target.from_default_triple().create_target_machine(cpu=llvm.get_host_cpu_name(), features=features.flatten(), opt=3)
    program = compile_terms(kernels.make("gaussian"), d, TERMS)
    wide = vector_ir.wide(features)
    module = llvm.parse_assembly(vector_ir.emit(program, dtype, cpu.lanes(dtype), wide, not wide))
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_unrolling = False
    llvm.create_pass_builder(target, options).getModulePassManager().run(module, llvm.create_pass_builder(target, options))
    return target.emit_assembly(module)


def native_assembly(d: int, dtype: str) -> str:
    """Code that the system's compiler makes of native.cpp. Raises ``ImportError`` where it cannot."""
    with tempfile.TemporaryDirectory() as folder:
        return peers.compile_native(d, dtype, Path(folder) / "native.s", "-S").read_text()


@cache
def count(contender: str, d: int, dtype: str) -> float:
    """Instructions per pair of `passes.BASE` or of `peers.NATIVE`; NaN for another contender, or where they cannot be read."""
    try:
        if contender == passes.BASE:
            return len(innermost(engine_assembly(d, dtype))) / cpu.lanes(dtype)
        if contender == peers.NATIVE:
            return len(innermost(native_assembly(d, dtype))) * np.dtype(dtype).itemsize / 64
    except (ImportError, ValueError) as error:
        print(f"{contender}, d = {d}, {dtype}: instructions not counted: {error}", file=sys.stderr)
    return float("nan")


def counters() -> str | None:
    """The tool that counts executed instructions here: perf, else valgrind, else None."""
    if shutil.which("perf"):
        done = subprocess.run(["perf", "stat", "-x", ",", "-e", "instructions:u", "true"], capture_output=True, text=True)
        if re.match(r"\d", done.stderr):
            return "perf"
    return "valgrind" if shutil.which("valgrind") else None


def executed(contender: str, d: int, dtype: str, n: int = 512) -> float:
    """Instructions executed per pair: the difference of a process with 20 further calls, by `counters`. Raises ``RuntimeError``."""
    tool, here = counters(), [sys.executable, __file__, "--run", contender, str(d), dtype, str(n)]
    if tool is None:
        raise RuntimeError("neither perf nor valgrind counts here")
    if tool == "valgrind" and contender == peers.NATIVE:
        raise RuntimeError("valgrind knows no AVX-512")
    prefix = {
        "perf": ["perf", "stat", "-x", ",", "-e", "instructions:u"],
        "valgrind": ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"],
    }[tool]
    pattern = {"perf": r"^(\d+),", "valgrind": r"Collected : (\d+)"}[tool]
    found = []
    for calls in (1, 21):
        done = subprocess.run([*prefix, *here, str(calls)], capture_output=True, text=True)
        hit = re.search(pattern, done.stderr, re.MULTILINE)
        if done.returncode or not hit:
            raise RuntimeError(f"{tool}: {done.stderr.strip().splitlines()[-1]}")
        found.append(int(hit[1]))
    return (found[1] - found[0]) / (20 * n * n)


def cases() -> Iterator[tuple[str, int, str]]:
    for dtype in ("float64", "float32"):
        for d in (1, 2, 3, 5, 10):
            for contender in (passes.BASE, peers.NATIVE):
                yield contender, d, dtype


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--executed", action="store_true", help="for d = 2 count what is executed as well (valgrind: minutes)")
    parser.add_argument("--run", nargs=5, metavar=("CONTENDER", "D", "DTYPE", "N", "CALLS"), help="what the counting tools run")
    arguments = parser.parse_args()
    if arguments.run:
        contender, d, dtype, n, calls = arguments.run
        x = np.random.default_rng(0).normal(size=(int(n), int(d))).astype(dtype)
        call = peers.PEERS[contender].factory(x, x, 0.3, 1)
        for _ in range(int(calls)):
            call()
        return
    for contender, d, dtype in cases():
        print(f"{contender:16s} d = {d:2d} {dtype}: {count(contender, d, dtype):6.2f} instructions per pair", end="", flush=True)
        if arguments.executed and d == 2:
            try:
                print(f", executed under {counters()}: {executed(contender, d, dtype):.2f}", end="")
            except RuntimeError as error:
                print(f", {error}", end="")
        print(flush=True)


if __name__ == "__main__":
    main()
