"""The mean-field solver against sums over a fine cloud, exact decay of small waves and conservation."""

import numpy as np
import pytest

from driftrates import kernels
from driftrates.fields import STATISTICS, SmoothedPoints
from driftrates.flow import NonFiniteError
from driftrates.kernels import Kernel
from driftrates.spectral import mean_field
from driftrates.spectral.linear import rate
from driftrates.spectral.mean_field import PeriodicMeanField


def by_sums(kernel, field, h, grid, q):
    """Field at the grid by sums over images, real space only; weights as multiplicities."""
    counts = np.rint(q * 2000).astype(int)
    points = np.repeat(grid, counts)
    images = np.concatenate([points + 2 * np.pi * n for n in range(-3, 4)])
    value = SmoothedPoints(images[None, :, None], kernel, h).statistic(STATISTICS[field], grid[None, :, None]).value
    return value[0, :, 0], counts / 2000


@pytest.mark.parametrize("field", mean_field.FIELDS)
@pytest.mark.parametrize("name", ["gaussian", "matern72"])
def test_the_velocity_is_that_of_the_sums_over_images(name, field):
    kernel, h = kernels.make(name), 0.5 if name == "gaussian" else 0.3
    grid = PeriodicMeanField(kernel, field, h, 64).grid
    p, q = 1 + 0.4 * np.cos(grid - 1), 1 + 0.5 * np.sin(2 * grid) * np.cos(grid)
    target, p = by_sums(kernel, field, h, grid, p)
    model, q = by_sums(kernel, field, h, grid, q)
    velocity = PeriodicMeanField(kernel, field, h, 64, p).velocity(q)
    # Sums on a grid alias: K^ at the wave number of the grid.
    np.testing.assert_allclose(velocity, target - model, atol=1e-10 if name == "gaussian" else 2e-4)


@pytest.mark.parametrize("field", mean_field.FIELDS)
@pytest.mark.parametrize("name", ["gaussian", "laplace", "inverse_multiquadric"])
def test_small_waves_decay_at_the_linear_rate_by_both_methods(name, field):
    kernel, k, h = kernels.make(name), np.array([1, 4, 9]), 0.5
    predicted = rate(kernel, k, h, 1, field)
    operator, coupling = mean_field.operator_rates(kernel, field, k, h)
    np.testing.assert_allclose(operator, predicted, rtol=1e-9)
    assert coupling.max() < 1e-8
    fitted = mean_field.nonlinear_rates(kernel, field, k, h)
    np.testing.assert_allclose(fitted.rate, predicted, rtol=1e-6)
    wrong = rate(kernels.make("matern52"), k, h, 1, field)
    assert (np.abs(fitted.rate / wrong - 1) > 1e-2).all()


def test_the_flow_keeps_its_mass_and_ends_at_its_target():
    grid = np.arange(64) * 2 * np.pi / 64
    p = mean_field.large_start(grid)
    flow = PeriodicMeanField(kernels.make("laplace"), "conservative", 0.5, 64, p)
    q = flow.evolve(1 + 0.3 * np.sin(grid), [0.0, 1.0, 12.0])
    np.testing.assert_allclose(q.mean(-1), 1.0, atol=1e-12)
    distance = np.abs(q - p).mean(-1)
    assert distance[1] < distance[0] and distance[2] < 1e-3
    np.testing.assert_allclose(flow.rhs(0.0, p), 0.0, atol=1e-12)
    np.testing.assert_allclose(flow.smooth(np.ones(64)), 1.0)


def test_a_bandwidth_that_varies_in_time_damps_by_the_integral_of_the_rate():
    flow = PeriodicMeanField(kernels.make("gaussian"), "displacement", lambda t: 1.5 * np.exp(-t), 32)
    times = np.linspace(0, 2, 5)
    seen = mean_field.mode(flow.evolve(1 + 1e-4 * np.cos(2 * flow.grid), times), 2)
    h = 1.5 * np.exp(-times)
    # int lambda(k; h(t)) dt = exp(-h(T)^2 k^2 / 2) - exp(-h(0)^2 k^2 / 2) at r = 1.
    damped = np.exp(-2 * h**2) - np.exp(-2 * h[0] ** 2)
    np.testing.assert_allclose(seen, 1e-4 * np.exp(-damped), rtol=1e-5)
    with pytest.raises(ValueError, match="one unit of time"):
        flow.evolve(np.ones(32), [1.0], unit=2.0)


def test_rows_of_different_period_bandwidth_and_unit_stand_side_by_side():
    kernel, length = kernels.make("matern32"), np.array([[2 * np.pi], [np.pi]])
    h = np.array([[0.5], [0.8]])
    flow = PeriodicMeanField(kernel, "sharp", h, 32, length=length)
    wave = 1 + 0.2 * np.cos(2 * np.pi * flow.grid / length)
    both = flow.evolve(wave, [0.5, 1.0], unit=np.array([[1.0], [2.0]]))
    alone = PeriodicMeanField(kernel, "sharp", 0.8, 32, length=np.pi).evolve(wave[1], [1.0, 2.0])
    np.testing.assert_allclose(both[:, 1], alone, rtol=1e-7)


def test_decay_rate_reads_a_masked_exponential():
    times = np.linspace(0, 3, 13)
    amplitude = np.stack([2 * np.exp(-0.7 * times), np.exp(-times) + (times > 2)], axis=-1)
    fit = mean_field.decay_rate(times, amplitude, np.stack([times < 9, times <= 2], axis=-1))
    np.testing.assert_allclose(fit.rate, [0.7, 1.0])
    assert fit.error.max() < 1e-6
    assert np.isnan(mean_field.decay_rate(times, amplitude, np.zeros_like(amplitude, bool)).rate).all()


def test_products_of_modes_by_loops():
    a, b = np.random.default_rng(0).random((2, 1, 7))
    for n in (1, 2, 5):
        pairs = [(i, j) for i in range(1, 8) for j in range(1, 8) if abs(i - j) == n or i + j == n]
        assert mean_field._products(a, b, n)[0] == pytest.approx(0.5 * sum(a[0, i - 1] * b[0, j - 1] for i, j in pairs))


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="unknown field"):
        PeriodicMeanField(kernels.make("gaussian"), "drift", 0.5, 32)
    with pytest.raises(ValueError, match="points must be at least 8"):
        PeriodicMeanField(kernels.make("gaussian"), "sharp", 0.5, 4)

    class Nameless(Kernel):
        """A transform that is not a number."""

        def fourier(self, k, d):
            return np.full(np.shape(k), np.nan)

    with pytest.raises(NonFiniteError, match="no finite velocity"):
        PeriodicMeanField(Nameless(), "conservative", 0.5, 16).evolve(np.ones(16), [1.0])


def test_the_study_holds_what_it_says():
    ds = mean_field.measure_spectra(seed=3, wave_numbers=(1, 2, 24), stop=4.0, points=64)
    assert ds.attrs["seed"] == 3 and list(ds["wave_number"].values) == [1, 2, 24]
    line = ds["closed_form"].sel(dimension=1)
    np.testing.assert_allclose((ds["nonlinear"] / line).values[np.isfinite(ds["nonlinear"].values)], 1.0, rtol=1e-6)
    assert np.isnan(ds["nonlinear"].sel(kernel="gaussian", wave_number=24)).all()
    for variable in (*ds.data_vars.values(), *ds.coords.values()):
        assert variable.attrs["long_name"] and variable.attrs["units"]
    np.testing.assert_allclose(
        ds["probe_smoothed"].sel(probe="triangle", density="p"), ds["probe_smoothed"].sel(probe="triangle", density="q")
    )
