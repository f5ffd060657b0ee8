"""Both flows on the circle: closed rates, periodic sums, particles against densities, symmetry of the response."""

import numpy as np
import pytest
from scipy import optimize

from driftrates import kernels
from driftrates.fields import SmoothedPoints
from driftrates.variational import circle

GAUSSIAN = kernels.make("gaussian")


@pytest.mark.parametrize("solver", circle.SOLVERS)
@pytest.mark.parametrize("flow", circle.FLOWS)
def test_modes_near_the_uniform_law_decay_at_the_closed_rates(flow, solver):
    ring = circle.Circle(0.4)
    options = {"amplitude": 1e-5, "particles": 96, "reach": 2.0, "rng": np.random.default_rng(0)}
    found = circle.decay_rates(ring, flow, solver, **options)
    np.testing.assert_allclose(found.rate, ring.predicted_rate(found.modes, flow), rtol=1e-4)


def test_the_velocity_on_the_circle_is_that_of_periodic_sums():
    x, h = np.sort(np.random.default_rng(0).uniform(0, 2 * np.pi, 24)), 0.5
    ring = circle.Circle(h, 256)
    grid = 2 * np.pi * np.arange(256) / 256
    images = (x + 2 * np.pi * np.arange(-3, 4)[:, None]).ravel()[None, :, None]
    score = SmoothedPoints(images, GAUSSIAN, h).statistic("score", grid[None, :, None]).value[0, :, 0]
    found = ring.velocity(ring._waves(x).mean(0), "drift")
    np.testing.assert_allclose(found, -score, atol=1e-9)
    spread = np.exp(-0.5 * ((grid[:, None, None] - grid[None, :, None] + 2 * np.pi * np.arange(-3, 4)) / h) ** 2).sum(2)
    smoothed = spread / np.sqrt(2 * np.pi) / h @ found * (2 * np.pi / 256)
    np.testing.assert_allclose(ring.velocity(ring._waves(x).mean(0), "w2_flow"), smoothed, atol=1e-9)


def test_a_large_perturbation_moves_like_the_particles_that_sample_it():
    ring, times = circle.Circle(0.5), np.linspace(0.0, 0.5, 3)
    lattice = 2 * np.pi * (np.arange(400) + 0.5) / 400
    # Quantiles of the density (1 + cos x / 2) / 2 pi, and its coefficients.
    x = np.array([optimize.brentq(lambda s, u=u: s + 0.5 * np.sin(s) - u, 0, 2 * np.pi) for u in lattice])
    coefficients = np.pad([1.0, 0.25], (0, 63)).astype(complex)
    for flow in circle.FLOWS:
        field = ring.mean_field_path(coefficients, times, flow)
        cloud = ring.particle_path(x, times, flow)
        np.testing.assert_allclose(cloud[:, :4], field[:, :4], atol=2e-5)
        assert abs(field[-1, 1]) < 0.9 * abs(field[0, 1])


def test_only_the_w2_flow_has_a_symmetric_response():
    ring = circle.Circle(0.5)
    uniform, other = np.pad([1.0], (0, 64)).astype(complex), np.pad([1.0, 0.2, 0.1j], (0, 62))
    assert ring.asymmetry(uniform, "drift") < 1e-10 and ring.asymmetry(other, "w2_flow") < 1e-10
    assert ring.asymmetry(other, "drift") > 0.05


def test_the_path_of_the_density_is_that_of_the_continuity_equation():
    ring, wave = circle.Circle(0.5, 64), np.arange(33)
    m = np.pad([1.0, 0.25, 0.1j], (0, 30)).astype(complex)
    times = np.array([0.0, 1e-4])
    for flow in circle.FLOWS:
        flux = np.fft.rfft(np.fft.irfft(m, 64) * ring.velocity(m, flow))
        found = np.diff(ring.mean_field_path(m, times, flow), axis=0)[0] / times[1]
        np.testing.assert_allclose(found[:16], (-1j * wave * flux)[:16], atol=1e-3)


def test_an_unknown_solver_an_unknown_flow_and_an_odd_grid_are_refused():
    with pytest.raises(ValueError, match="unknown solver 'grid'"):
        circle.decay_rates(circle.Circle(0.5), "drift", "grid", amplitude=1e-4, particles=8, reach=2.0, rng=None)
    with pytest.raises(ValueError, match="points must be even, not 33"):
        circle.Circle(0.5, 33)
    ring, m = circle.Circle(0.5), np.ones(65)
    for call in (ring.velocity, ring.predicted_rate, ring.asymmetry):
        with pytest.raises(ValueError, match="unknown flow 'euler'; known: drift, w2_flow"):
            call(m, "euler")


def test_particles_that_cannot_be_followed_are_named(monkeypatch):
    monkeypatch.setattr(circle.integrate, "solve_ivp", lambda *_, **__: optimize.OptimizeResult(success=False, message="too stiff"))
    with pytest.raises(RuntimeError, match="particles on the circle, drift, h = 0.5: too stiff"):
        circle.Circle(0.5).particle_path(np.zeros(3), np.array([0.0, 1.0]), "drift")
