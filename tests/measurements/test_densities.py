"""Masses of balls against Monte Carlo and closed forms, and the constant of R5.4 below them."""

import math

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from driftrates.measurements import densities
from driftrates.random import generator


@pytest.mark.parametrize("d", [1, 2, 3, 5])
@pytest.mark.parametrize("name", ["uniform_cube", "uniform_ball", "truncated_gaussian", "gaussian"])
def test_mass_of_a_ball_agrees_with_monte_carlo(name, d):
    law = densities.make_density(name, d)
    x, y = law.sample(generator(1, name, d, "x"), (3,)), law.sample(generator(1, name, d, "y"), (100_000,))
    for radius in (0.2, 0.6):
        mass = law.mass(x, radius)
        error = np.sqrt(mass * (1 - mass) / len(y)) + 1e-5
        assert (np.abs((cdist(x, y) <= radius).mean(1) - mass) < 5 * error).all()


@pytest.mark.parametrize("d", [1, 2, 3, 5])
def test_masses_in_closed_form(d):
    cube, ball = densities.make_density("uniform_cube", d), densities.make_density("uniform_ball", d)
    corner = densities.ball_volume(d) * 0.7**d / 2**d
    assert cube.least_mass(0.7) == pytest.approx(corner, rel=3e-4 if d > 1 else 1e-14)
    assert cube.least_mass(0.7) == pytest.approx(densities.mass_constant(cube, 0.7), rel=3e-4)
    assert ball.mass(np.zeros((1, d)), 0.3)[0] == pytest.approx(0.6**d) and ball.mass(np.zeros((1, d)), 9.0)[0] == 1.0
    assert densities.mass_constant(densities.make_density("gaussian", d), 1.0) == 0.0
    assert cube.mass(np.full((1, d), 0.5), 9.0)[0] == pytest.approx(1.0)


def test_lens_of_two_discs_and_the_constant_of_the_disc():
    disc = densities.BallDensity(2, 1.0)
    lens = 2 * math.pi / 3 - math.sqrt(3) / 2  # two unit discs whose centres are 1 apart
    assert disc.least_mass(1.0) == pytest.approx(lens / math.pi, rel=1e-13)
    assert disc.share == pytest.approx(lens / math.pi, rel=1e-13)


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("name", ["uniform_cube", "uniform_ball", "truncated_gaussian"])
def test_no_point_of_the_support_has_less_mass_than_the_corner_and_r54_bounds_it(name, d):
    law = densities.make_density(name, d)
    x = law.sample(generator(2, name, d), (150,))
    for radius in (0.1, 0.3, law.reach):
        assert law.mass(x, radius).min() >= law.least_mass(radius) * (1 - 5e-4)
        assert law.least_mass(radius) >= densities.mass_constant(law, radius) * (1 - 5e-4)


@pytest.mark.parametrize("arguments", [(0,), (2, -1.0), (2, math.inf), (2, 0.5, 0.0), (2, math.nan)])
def test_a_law_on_a_box_refuses_impossible_sizes(arguments):
    with pytest.raises(ValueError, match="a law on a box needs"):
        densities.BoxDensity(*arguments)


def test_other_impossible_laws_are_refused():
    with pytest.raises(ValueError, match="uniform law on a ball needs"):
        densities.BallDensity(2, math.inf)
    with pytest.raises(ValueError, match="unknown density 'cauchy'; known: uniform_cube"):
        densities.make_density("cauchy", 1)
