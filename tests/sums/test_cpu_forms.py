"""The CPU engine's code: the same sums at every width of vector, and as few instructions as by hand."""

import re

import llvmlite.binding as llvm
import numpy as np
import pytest

from driftrates import kernels
from driftrates.sums import cpu, machine, vector_ir
from driftrates.sums.program import compile_terms
from summation import BITS, DTYPES, assert_agrees, cloud, terms_of


def test_lanes_follow_the_instructions_of_the_host():
    wide, middle = {"avx512f": True, "avx512dq": True, "avx2": True}, {"avx512f": True, "avx512dq": False, "avx2": True}
    for dtype, per_64_bytes in (("float64", 8), ("float32", 16)):
        assert [vector_ir.lanes(f, dtype) for f in (wide, middle, {})] == [per_64_bytes, per_64_bytes // 2, per_64_bytes // 4]


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_form_under_test_is_the_one_compiled(form, dtype):
    program = compile_terms(kernels.Gaussian(), 2, ("k",))
    assert cpu._compiled(program, dtype).lanes == BITS[form] // (8 * np.dtype(dtype).itemsize)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_kernel_on_every_form(form, dtype):
    for kernel in map(kernels.make, kernels.names()):
        for d, exclude_self in ((1, False), (3, True)):
            program = compile_terms(kernel, d, terms_of(kernel), exclude_self)
            x = cloud(d, dtype, 2, 37, d)
            y = x if exclude_self else cloud(9, dtype, 1, 21, d)
            shift = np.full((2, 37), 0.25, dtype)
            assert_agrees(cpu.accumulate(program, x, y, shift), program, x, y, shift)


def _accumulate_by(text, lanes, program, x, y, shift):
    """``accumulate`` of the given assembly on its own: one block, one thread, no point left out."""
    function = machine.compiled(text, "accumulate", 1, 4)
    replicates, n, d = x.shape
    assert n % lanes == 0 and y.shape[0] == replicates
    points, out = np.ascontiguousarray(x.swapaxes(1, 2)), np.zeros((replicates, program.rows, n), x.dtype)
    own, none = np.full(n, -1), np.zeros(n // lanes, np.int64)
    m = y.shape[1]
    everything = np.array([0, m])
    arrays = (points, y, shift, own, none, none, everything, out)
    arguments = np.array([*(a.ctypes.data for a in arrays), d * n, m * d, n, 0, program.rows * n, 0, 1, m, n, 7, 7])
    assert len(arguments) == len(vector_ir.ARGUMENTS)
    function(arguments.ctypes.data, 0, replicates, 0, n // lanes)
    return out


@pytest.mark.parametrize(
    ("dtype", "lanes"), [("float64", 8), ("float64", 4), ("float64", 2), ("float32", 16), ("float32", 8), ("float32", 4)]
)
@pytest.mark.parametrize("name", ["gaussian", "laplace", "inverse_multiquadric"])
def test_the_portable_text_runs_at_any_width(name, dtype, lanes):
    kernel = kernels.make(name)
    program = compile_terms(kernel, 2, ("k", "kz", "gz", "companion"))
    text = vector_ir.emit(program, dtype, lanes, False)
    assert f"<{lanes} x {'double' if dtype == 'float64' else 'float'}>" in text and "avx512" not in text
    x, y, shift = cloud(1, dtype, 2, 32, 2), cloud(2, dtype, 2, 19, 2), np.zeros((2, 32), dtype)
    assert_agrees(_accumulate_by(text, lanes, program, x, y, shift), program, x, y, shift)


def _innermost(program, dtype):
    """The vector instructions, and the uses of the stack, of the loop over the sources."""
    features = machine.features()
    target = llvm.Target.from_default_triple().create_target_machine(cpu=llvm.get_host_cpu_name(), features=features.flatten(), opt=3)
    module = llvm.parse_assembly(vector_ir.emit(program, dtype, cpu.lanes(dtype), vector_ir.wide(features), False))
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_unrolling = False
    llvm.create_pass_builder(target, options).getModulePassManager().run(module, llvm.create_pass_builder(target, options))
    blocks, name = {}, ""
    for line in target.emit_assembly(module).split("\n"):
        if label := re.match(r"(\.?\w+):", line):
            name = label[1]
        elif line.startswith("\t") and not line.startswith("\t."):
            blocks.setdefault(name, []).append(line.strip())
    (body,) = [b for n, b in blocks.items() if any(re.fullmatch(rf"j\w+\s+{re.escape(n)}", t) for t in b) and any(t[0] == "v" for t in b)]
    arithmetic = [t for t in body if t.startswith("v") and not t.startswith(("vbroadcast", "vmov"))]
    return len(arithmetic), sum("%rsp" in t for t in body)


@pytest.mark.parametrize(
    ("kernel", "terms", "float64", "float32"),
    [
        (kernels.Gaussian(), ("k", "kz", "gzz"), 14, 11),
        (kernels.Laplace(), ("k", "kz"), 21, 16),
        (kernels.Laplace(), ("k", "kz", "gz"), 22, 17),
    ],
)
def test_instructions_of_one_vector_of_pairs(kernel, terms, float64, float32):
    """As few as by hand: differences 2 d, the exponential 12 or 9, the root 8 or 5, one for each accumulator."""
    if not vector_ir.wide(machine.features()):
        pytest.skip("no AVX-512 on this machine")
    vectors = sum(t != "k" and t != "gzz" for t in terms)
    for dtype, rest in (("float64", float64), ("float32", float32)):
        for d in (1, 2, 3):
            count, spilled = _innermost(compile_terms(kernel, d, terms), dtype)
            assert count <= (2 + vectors) * d + rest and spilled <= d // 3, (dtype, d, count, spilled)
