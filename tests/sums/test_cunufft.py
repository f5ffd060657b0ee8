"""The transform on a GPU: its logic on arrays that act like CuPy's, with finufft behind the interface of cufinufft."""

from __future__ import annotations

import types

import numpy as np
import pytest

import devices
from driftrates import kernels
from driftrates.sums import ENGINES, TERMS, cpu, cuda, cunufft, kernel_sums, nufft, reference, work
from driftrates.sums.program import compile_terms

finufft = pytest.importorskip("finufft")
OPTIONS = {"upsampfac", "gpu_method", "gpu_sort", "gpu_maxbatchsize", "gpu_device_id", "gpu_stream", "modeord", "gpu_spreadinterponly"}


class Plan:
    """Interface of cufinufft 2.5: types are checked, arrays are of the device; the work is finufft's."""

    made = 0

    def __init__(self, nufft_type, n_modes, n_trans=1, eps=1e-6, isign=None, dtype="complex64", **options):
        assert set(options) <= OPTIONS
        Plan.made += 1
        self.kind, self.modes, self.n_trans, self.dtype = nufft_type, tuple(n_modes), n_trans, np.dtype(dtype)
        self.real = {"complex64": np.float32, "complex128": np.float64}[str(self.dtype)]
        self.plan = finufft.Plan(nufft_type, self.modes, n_trans=n_trans, eps=eps, isign=isign, dtype=str(self.dtype), nthreads=1)

    def setpts(self, x, y=None, z=None):
        given = [a for a in (x, y, z) if a is not None]
        assert len(given) == len(self.modes)
        for a in given:
            assert isinstance(a, devices.Device) and a.dtype == self.real and a.flags.c_contiguous and a.ndim == 1 and a.shape == x.shape
        self.count = len(x)
        self.plan.setpts(*(a.values for a in given))

    def execute(self, data, out=None):
        assert out is None and isinstance(data, devices.Device) and data.dtype == self.dtype and data.flags.c_contiguous
        inner = (self.count,) if self.kind == 1 else self.modes
        assert data.size == self.n_trans * int(np.prod(inner))
        batch = data.shape[: data.ndim - len(inner)]
        result = self.plan.execute(data.values.reshape(inner if self.n_trans == 1 else (self.n_trans, *inner)))
        return devices.Device(result.reshape(*batch, *(self.modes if self.kind == 1 else (self.count,))))


@pytest.fixture
def direct_sums(monkeypatch):
    """The engine on the device that acts like CuPy's; the list holds the numbers of points of the direct sums."""
    calls = []

    def accumulate(program, x, y, shift, index=None):
        calls.append(x.shape[1])
        values = (None if a is None else a.values for a in (x, y, shift, index))
        return devices.Device(cpu.accumulate(program, *values))

    monkeypatch.setattr(cuda, "namespace", lambda: devices.namespace)
    monkeypatch.setattr(cuda, "accumulate", accumulate)
    monkeypatch.setattr(cunufft, "library", lambda: types.SimpleNamespace(Plan=Plan))
    cunufft._plans.clear()
    yield calls
    cunufft._plans.clear()


def program_of(d, exclude_self=False, name="gaussian", terms=TERMS):
    return compile_terms(kernels.make(name), d, terms, exclude_self)


def on_device(*arrays):
    return (devices.namespace.asarray(a) for a in arrays)


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize(("shared", "exclude_self"), [(True, False), (False, False), (False, True)])
def test_agrees_with_the_direct_sums(direct_sums, d, shared, exclude_self):
    rng, rtol, program = np.random.default_rng(d), 1e-8, program_of(d, exclude_self)
    x = 2 * rng.normal(size=(2, 400, d))
    y = x if exclude_self else 2 * rng.normal(size=(1 if shared else 2, 500, d))
    shift = np.zeros(x.shape[:2])
    found = cunufft.accumulate(program, *on_device(x, y, shift), rtol=rtol)
    exact = reference.accumulate(program, x, y, shift)
    error, mass = np.abs(found.values - exact), exact[:, program.slots["k"][0]]
    assert error.max() > 1e-13, "the transform is meant to have been used"
    assert (error[:, program.slots["k"][0]] <= rtol * mass).all()
    # A component of the mean shift is a mean of |z|, which is a few h in the tails; second moments are its square.
    assert (error.max(1) <= 20 * rtol * mass).all()
    assert sum(direct_sums) < x.shape[0] * x.shape[1] / 2, "only doubtful rows are summed directly"


def test_float32_arrays_keep_their_type(direct_sums):
    rng, program = np.random.default_rng(0), program_of(2, terms=("k", "kz"))
    x, y = rng.normal(size=(1, 300, 2)).astype(np.float32), rng.normal(size=(1, 300, 2)).astype(np.float32)
    shift = np.zeros((1, 300), np.float32)
    found = cunufft.accumulate(program, *on_device(x, y, shift), rtol=1e-5)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.values, reference.accumulate(program, *(a.astype(float) for a in (x, y, shift))), rtol=1e-4, atol=1e-3)


def test_far_and_lifted_rows_are_summed_directly(direct_sums):
    rng, program = np.random.default_rng(1), program_of(2, terms=("k", "kz"))
    x, y = rng.normal(size=(1, 300, 2)), rng.normal(size=(1, 400, 2))
    x[0, :7] += 20
    shift = np.zeros((1, 300))
    shift[0, 9] = 1.5
    found = cunufft.accumulate(program, *on_device(x, y, shift), rtol=1e-9).values
    exact = reference.accumulate(program, x, y, shift)
    assert (found[0, 0, :7] > 0).all() and len(direct_sums) == 1 and direct_sums[0] >= 8
    np.testing.assert_allclose(found[0, 0], exact[0, 0], rtol=1e-9)
    all_lifted = cunufft.accumulate(program, *on_device(x, y, np.ones((1, 300))), rtol=1e-9).values
    np.testing.assert_allclose(all_lifted, np.e * reference.accumulate(program, x, y, 0 * shift), rtol=1e-12, atol=1e-12)
    assert direct_sums[-1] == 300


def test_plans_are_kept_and_few_numbers_go_to_the_host(direct_sums):
    rng, program = np.random.default_rng(2), program_of(2, terms=("k", "kz"))
    x, y, shift = on_device(rng.normal(size=(1, 300, 2)), rng.normal(size=(1, 300, 2)), np.zeros((1, 300)))
    cunufft.accumulate(program, x, y, shift, rtol=1e-6)
    made, copies = Plan.made, devices.Device.copies
    cunufft.accumulate(program, x, y, shift, rtol=1e-6)
    assert Plan.made == made
    assert devices.Device.copies - copies == 3, "whether all rows are lifted, the corners of the clouds, the peak"


def test_choice_between_the_engines_of_the_device(direct_sums):
    cloud, program = np.random.default_rng(3).normal(size=(1, 400_000, 2)), program_of(2, terms=("k", "kz"))
    few, many = on_device(cloud[:, :1000], cloud)
    assert cunufft.choose(program, many, many, 1e-6) == ["cunufft"]
    assert cunufft.choose(program, many, many, None) == ["cuda"]
    assert cunufft.choose(program, few, few, 1e-6) == ["cuda"]
    assert cunufft.choose(program, 1e6 * many, 1e6 * many, 1e-6) == ["cuda"], "its modes would not fit into memory"
    assert cunufft.choose(program_of(2, name="laplace", terms=("k",)), many, many, 1e-6) == ["cuda"]


def test_kernel_sums_takes_it_for_the_replicates_that_it_can_do(direct_sums, monkeypatch):
    rng, gaussian = np.random.default_rng(4), kernels.make("gaussian")
    x = rng.normal(size=(3, 500, 2)) * np.array([1, 1e6, 1])[:, None, None]
    for constant in ("_CALL", "_SPREAD", "_CELL"):
        monkeypatch.setattr(cunufft, constant, 0.0)
    before = work()
    (device,) = on_device(x)
    found = kernel_sums(device, device, gaussian, 0.5, ("k", "kz"), rtol=1e-7)
    passes = dict(zip(ENGINES, (work() - before)[:, 0].tolist(), strict=True))
    assert passes == {**dict.fromkeys(ENGINES, 0), "cunufft": 1, "cuda": 1}
    exact = kernel_sums(x, x, gaussian, 0.5, ("k", "kz"), engine="reference").terms
    np.testing.assert_allclose(found.terms["k"].values, exact["k"], rtol=1e-7)
    assert (np.abs(found.terms["kz"].values - exact["kz"]).max(2) < 1e-6 * exact["k"]).all()
    assert np.abs(found.terms["k"].values - exact["k"]).max() > 1e-12, "the transform is meant to have been used"
    named = kernel_sums(device[::2], device[::2], gaussian, 0.5, ("k", "kz"), engine="cunufft", rtol=1e-7)
    np.testing.assert_array_equal(named.terms["k"].values, found.terms["k"].values[::2])


def test_bad_input_and_missing_package(direct_sums, monkeypatch):
    x, shift = on_device(np.zeros((1, 2, 2)), np.zeros((1, 2)))
    with pytest.raises(ValueError, match="'cunufft' needs the Gaussian kernel in d <= 3, and the package cufinufft"):
        cunufft.accumulate(program_of(2, name="laplace", terms=("k",)), x, x, shift)
    with pytest.raises(ValueError, match="rtol"):
        cunufft.accumulate(program_of(2), x, x, shift, rtol=2.0)
    wide = devices.namespace.asarray(np.array([[[0.0, 0.0], [1e6, 1e6]]]))
    with pytest.raises(ValueError, match=r"'cunufft' cannot keep .* \(at least \d+x\d+ modes\): use the direct engine"):
        cunufft.accumulate(program_of(2), wide, wide, shift)
    monkeypatch.setattr(cunufft, "library", lambda: None)
    assert not cunufft.supports(program_of(2))


def test_library_is_none_where_it_cannot_be_loaded(monkeypatch):
    cunufft.library.cache_clear()
    monkeypatch.setattr(cunufft.importlib.util, "find_spec", lambda name: None)
    assert cunufft.library() is None
    cunufft.library.cache_clear()


def test_stand_in_array_refuses_what_cupy_refuses():
    """Negative control of the arrays behind these tests."""
    array = devices.namespace.asarray(np.arange(3.0))
    for forbidden in (lambda: array + np.arange(3.0), lambda: np.asarray(array), lambda: devices.namespace.stack([np.arange(3.0)])):
        with pytest.raises(TypeError):
            forbidden()
    assert nufft.namespace() is np and float((2 * array).sum()) == 6
