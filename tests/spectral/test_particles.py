"""Particles on the torus: the two ways to sum, starts, decay and noise."""

import numpy as np
import pytest

from driftrates import kernels
from driftrates.spectral import particles
from driftrates.spectral.linear import rate

RNG = np.random.default_rng(1)


def by_hand(kernel, field, h, x):
    """Velocity of one cloud (N,) by a plain double loop over pairs and images."""
    out = []
    for xi in x:
        z = (x[None, :] + 2 * np.pi * np.arange(-12, 13)[:, None] - xi).ravel()
        s = np.abs(z) / h
        plain, companion = kernel.rung(s, 1), kernel.rung(s, 1, -1)
        if field == "displacement":
            out.append(-(plain * z).sum() / plain.sum())
        elif field == "sharp":
            out.append(-(plain * z).sum() / (h**2 * companion.sum()))
        else:
            out.append(-(kernel.rung(s, 1, 1) * z).sum() / (h**2 * plain.sum()))
    return np.array(out)


@pytest.mark.parametrize("field", ["conservative", "displacement", "sharp"])
@pytest.mark.parametrize(
    ("name", "h"), [("gaussian", 0.6), ("matern52", 0.6), ("smoothed_laplace", 0.6), ("gaussian", 0.04), ("laplace", 0.09)]
)
def test_the_velocity_is_the_sum_over_all_images(name, h, field):
    # The last two see each other across the end of the period only.
    kernel, x = kernels.make(name), np.append(RNG.uniform(-4, 9, 18), [0.3 * h, 2 * np.pi - 0.4 * h])
    np.testing.assert_allclose(particles.velocity(kernel, field, h, x[None, :, None])[0, :, 0], by_hand(kernel, field, h, x), atol=1e-12)


@pytest.mark.parametrize("field", ["conservative", "displacement", "sharp"])
def test_series_and_images_agree(field):
    kernel, x = kernels.make("gaussian"), RNG.uniform(0, 2 * np.pi, (2, 30, 1))
    orders, _ = particles._reach(kernel, 0.5)
    np.testing.assert_allclose(
        particles._by_series(kernel, field, 0.5, x, orders), particles._by_images(kernel, field, 0.5, x, 2), atol=1e-12
    )


def test_a_kernel_that_needs_too_much_of_both_is_refused():
    with pytest.raises(ValueError, match="reaches too far"):
        particles.velocity(kernels.make("inverse_multiquadric"), "displacement", 0.1, np.zeros((1, 2, 1)))
    with pytest.raises(ValueError, match="unknown field"):
        particles.velocity(kernels.make("gaussian"), "drift", 0.5, np.zeros((1, 2, 1)))


def test_quantiles_have_the_modes_of_the_wave():
    u = (np.arange(4000) + 0.5) / 4000
    x = particles.wave_start(u, 3, 0.4)[None, :, None]
    found = particles.modes(x, [1, 2, 3, 6])[0]
    np.testing.assert_allclose(found, [0, 0, 0.2, 0], atol=1e-6)


def test_rates_of_particles_and_their_noise():
    ds = particles.measure_particles(
        seed=2, wave_numbers=(1, 2), n_particles=128, replicates=3, floor_sizes=(16, 32, 64), floor_replicates=6, stop=40.0, resamples=99
    )
    np.testing.assert_allclose(ds["quiet_rate"] / ds["predicted"], 1.0, atol=0.01)
    assert (np.abs(ds["noisy_rate"].mean("left_out") / ds["predicted"] - 1) < 0.15).all()
    gaussian = ds["predicted"].sel(pair="gaussian displacement").values
    np.testing.assert_allclose(gaussian, rate(kernels.make("gaussian"), [1, 2], 0.5))
    scaled = ds["noise"] * np.sqrt(ds["size"])
    assert abs(scaled.sel(stage="start").mean() - 1) < 0.1
    assert (scaled.sel(stage="end", mode=1) < 0.05).all()
    assert (scaled.sel(floor="gaussian displacement", stage="end").isel(mode=slice(9, None)).mean("mode") > 0.7).all()
    # Few Laplace particles come to rest on a lattice: only the exponent of the Gaussian kernel says something here.
    exponent = ds["exponent"].sel(floor="gaussian displacement")
    assert exponent.sel(stage="end") < exponent.sel(stage="start") < -0.3
    with pytest.raises(ValueError, match="at least 3"):
        particles.measure_particles(seed=0, floor_sizes=(8, 16))
