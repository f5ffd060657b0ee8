"""Instructions of the CUDA engine's innermost loop, counted in its machine code, and the pairs per second that a GPU could do with them.

    python benchmarks/roofline.py                the counts of sm_90 and what they allow on an H200; needs no GPU

Needs the extra `test` (NVRTC through cuda-bindings, and nvdisasm).
"""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import tempfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from driftrates import kernels
from driftrates.sums import cuda
from driftrates.sums.cuda_source import Source, accumulate_source
from driftrates.sums.program import compile_terms

DIMENSIONS = (1, 2, 3, 5, 10)
TERMS = {"gaussian": ("k", "kz", "gzz"), "laplace": ("k", "kz", "gz", "gzz")}
"""What is accumulated where instructions and throughput are counted: mass, mean shift and |z|^2; for Laplace also the radial mean."""


class Counts(NamedTuple):
    """Instructions per pair: all, and those of the double-precision, single-precision and special-function units."""

    total: float
    double: float
    single: float
    special: float


class Card(NamedTuple):
    """Multiprocessors, clock (Hz), and lanes per multiprocessor and clock: issued, double, single, special."""

    multiprocessors: int
    clock: float
    issue: int = 128
    double: int = 64
    single: int = 128
    special: int = 16


H200 = Card(132, 1.98e9)
UNITS = {
    (7, 5): (128, 2, 64, 16),
    (8, 0): (128, 32, 64, 16),
    (8, 6): (128, 2, 128, 16),
    (8, 9): (128, 2, 128, 16),
    (9, 0): (128, 64, 128, 16),
}
"""Lanes of a multiprocessor by compute capability: issue, double, single, special (tables of the CUDA programming guide)."""

COUNTS = {
    ("gaussian", "float32"): {
        1: Counts(6.22, 0, 5, 1),
        2: Counts(9.28, 0, 8, 1),
        3: Counts(12.34, 0, 11, 1),
        5: Counts(18.62, 0, 17, 1),
        10: Counts(33.94, 0, 32, 1),
    },
    ("gaussian", "float64"): {
        1: Counts(23.0, 13, 0, 0),
        2: Counts(26.12, 16, 0, 0),
        3: Counts(29.5, 19, 0, 0),
        5: Counts(35.88, 25, 0, 0),
        10: Counts(52.12, 40, 0, 0),
    },
    ("laplace", "float32"): {
        1: Counts(11.22, 0, 9, 2),
        2: Counts(15.28, 0, 13, 2),
        3: Counts(19.5, 0, 17, 2),
        5: Counts(27.62, 0, 25, 2),
        10: Counts(48.88, 0, 45, 2),
    },
    ("laplace", "float64"): {
        1: Counts(33.62, 22, 0, 1),
        2: Counts(38.0, 26, 0, 1),
        3: Counts(41.88, 30, 0, 1),
        5: Counts(51.25, 38, 0, 1),
        10: Counts(76.75, 58, 0, 1),
    },
}
"""Counted on sm_90 with NVRTC 12.9 and 13.5; `tests/benchmarks/test_roofline.py` refuses more."""


def limit(counts: Counts, card: Card = H200) -> float:
    """Pairs per second at which the busiest unit of the card is always busy."""
    lanes = (card.issue, card.double, card.single, card.special)
    return card.multiprocessors * card.clock / max(n / unit for n, unit in zip(counts, lanes, strict=True))


def source(kernel: str, d: int, dtype: str) -> Source:
    """Source of the pass that is counted and timed."""
    return accumulate_source(compile_terms(kernels.make(kernel), d, TERMS[kernel]), dtype)


def compile_cubin(text: str, arch: str, dtype: str) -> tuple[bytes, str]:
    """Machine code of a CUDA source and the log of the compiler. Raises ``RuntimeError`` with the log where it does not compile."""
    from cuda.bindings import nvrtc

    _, program = nvrtc.nvrtcCreateProgram(text.encode(), b"driftrates.cu", 0, [], [])
    options = [f"--gpu-architecture={arch}", "--ptxas-options=-v", *cuda.OPTIONS[dtype]]
    (result,) = nvrtc.nvrtcCompileProgram(program, len(options), [o.encode() for o in options])
    log = b" " * nvrtc.nvrtcGetProgramLogSize(program)[1]
    nvrtc.nvrtcGetProgramLog(program, log)
    if result != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        raise RuntimeError(log.decode())
    cubin = b" " * nvrtc.nvrtcGetCUBINSize(program)[1]
    nvrtc.nvrtcGetCUBIN(program, cubin)
    nvrtc.nvrtcDestroyProgram(program)
    return cubin, log.decode()


def disassembler() -> Path:
    """Path of nvdisasm. Raises ``FileNotFoundError`` where the package is missing."""
    try:
        files = importlib.metadata.files("nvidia-cuda-nvdisasm") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == "nvdisasm":
            return Path(str(file.locate()))
    raise FileNotFoundError("nvdisasm is not installed (package nvidia-cuda-nvdisasm, extra 'test')")


def innermost_loops(cubin: bytes, function: str = "pairs") -> list[list[str]]:
    """Operation codes of every innermost loop of a kernel."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        listing = subprocess.run([disassembler(), "-c", file.name], check=True, capture_output=True, text=True).stdout
    body = re.search(rf"^\.text\.{function}:\n(.*?)(?=^//-+ \.|\Z)", listing, re.MULTILINE | re.DOTALL)[1]
    labels: dict[str, int] = {}
    codes: list[str] = []
    loops: list[tuple[int, int]] = []
    for line in body.splitlines():
        if label := re.match(r"\s*(\.L_\w+):", line):
            labels[label[1]] = len(codes)
        elif instruction := re.match(r"\s*/\*[0-9a-f]+\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)(.*);", line):
            codes.append(instruction[1])
            target = re.search(r"`\((\.L_\w+)\)", instruction[2])
            if instruction[1].startswith("BRA") and target and target[1] in labels:
                loops.append((labels[target[1]], len(codes)))
    return [codes[a:b] for a, b in loops if not any((a, b) != (c, d) and a <= c and d <= b for c, d in loops)]


def count(kernel: str, d: int, dtype: str, arch: str = "sm_90") -> Counts:
    """Instructions per pair in the loop over the sources that runs almost always.

    Every pair evaluates one power of 2: in float32 by the special-function unit, in float64 by one look-up of 64 bits per lane.
    Raises ``ValueError`` where their number disagrees with that of the source's pairs per turn.
    """
    made = source(kernel, d, dtype)
    (unroll,) = re.findall(r"^#define UNROLL (\d+)$", made.text, re.MULTILINE)
    pairs = int(unroll) * made.points
    loop = max(innermost_loops(compile_cubin(made.text, arch, dtype)[0]), key=len)
    codes = Counter(loop)
    powers = codes["MUFU.EX2"] if dtype == "float32" else codes["LDS.64"]
    if powers != pairs:
        raise ValueError(f"the longest loop of {kernel}, d = {d}, {dtype} has {powers} powers of 2 for {pairs} pairs")
    units = Counter(code.partition(".")[0] for code in loop)
    double = sum(units[name] for name in ("DADD", "DMUL", "DFMA", "DSETP"))
    return Counts(*(round(n / pairs, 2) for n in (len(loop), double, units["FADD"] + units["FMUL"] + units["FFMA"], units["MUFU"])))


def main() -> None:
    print("| kernel | dtype | d | instructions | double | single | special | pairs/s (H200) |\n|---|---|---|---|---|---|---|---|")
    for kernel, dtype in COUNTS:
        for d in DIMENSIONS:
            counts = count(kernel, d, dtype)
            print(f"| {kernel} | {dtype} | {d} | {' | '.join(f'{n:.4g}' for n in counts)} | {limit(counts):.3g} |")


if __name__ == "__main__":
    main()
