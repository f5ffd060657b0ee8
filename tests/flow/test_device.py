"""Integration of arrays on a device: the numbers of the host, and how seldom it waits for the device."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import devices
from driftrates import flow
from driftrates.flow import driver

TIMES = np.linspace(0.0, 2.0, 5)


@pytest.fixture(autouse=True)
def cupy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", devices.namespace)


def rhs(t, x, replicates):
    """A stiffening pull toward the unit circle, and its mean work."""
    velocity = x * (1 - (x * x).sum(axis=2)[..., None])
    return velocity, (velocity * x).sum(axis=2).mean(axis=1).reshape(-1, 1)


def run(x0, method, **options):
    return list(flow.integrate(rhs, x0, TIMES, method, carried=1, **options))


@pytest.mark.parametrize(
    "method", [flow.Euler(0.03), flow.DormandPrince(1e-6, 1e-8), flow.RungeKuttaChebyshev(1e-4, 1e-6)], ids=lambda m: m.name
)
def test_device_gives_the_bits_of_the_host_with_few_copies(method, monkeypatch):
    x0 = np.random.default_rng(0).normal(size=(3, 20, 2))
    host = run(x0, method)
    devices.Device.copies = 0
    iterations = [0]
    power = driver._Run._power_iteration
    monkeypatch.setattr(
        driver._Run, "_power_iteration", lambda self, *a: (iterations.__setitem__(0, iterations[0] + 1), power(self, *a))[1]
    )
    device = run(devices.namespace.asarray(x0), method)
    copies = devices.Device.copies
    for h, d in zip(host, device, strict=True):
        np.testing.assert_array_equal(h.state.x, d.state.x.get())
        np.testing.assert_array_equal(h.state.carried, d.state.carried.get())
        assert all(np.array_equal(a, b) for a, b in zip(h.statistics, d.statistics, strict=True))
    steps = int((device[-1].statistics.accepted + device[-1].statistics.rejected).max())
    assert steps > 20
    if method.name == "euler":
        assert copies == 1 + 2 * steps, "the start; slopes and new state of every step"
    elif method.name == "dormand_prince":
        # Replicates at different step sizes finish at different steps: at most one round for each output time more.
        assert 5 + steps <= copies <= 5 + int((device[-1].statistics.accepted + device[-1].statistics.rejected).sum())
    else:
        assert iterations[0] >= 1 and copies < 5 + 3 * steps + 4 * driver.RADIUS_ITERATIONS * iterations[0]


def test_one_copy_for_every_attempt_of_a_single_replicate():
    x0 = devices.namespace.asarray(np.random.default_rng(1).normal(size=(1, 20, 2)))
    devices.Device.copies = 0
    last = run(x0, flow.DormandPrince(1e-9, 1e-9))[-1].statistics
    # The start, the first slopes and the three sizes of the first step; then one for every attempt.
    assert devices.Device.copies == 5 + int(last.accepted[0] + last.rejected[0])


def test_non_finite_particle_on_the_device_is_named():
    def bad(t, x, replicates):
        velocity, rates = rhs(t, x, replicates)
        velocity[1, 4] = np.nan
        return velocity, rates

    x0 = devices.namespace.asarray(np.ones((2, 6, 2)))
    with pytest.raises(flow.NonFiniteError, match="replicate 1: the velocity of particle 4 is not finite at time 0, step 1"):
        list(flow.integrate(bad, x0, TIMES, flow.Euler(0.1), carried=1))
