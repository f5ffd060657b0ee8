"""Algorithm 2 against loops, its symmetries, and what the floor does."""

import numpy as np
import pytest

from driftrates.baselines import affinity


@pytest.fixture
def clouds():
    rng = np.random.default_rng(2)
    return rng.standard_normal((2, 6, 3)), rng.standard_normal((2, 8, 3)) + 0.5


@pytest.mark.parametrize("floor", [0.0, 1e-3, 0.2])
@pytest.mark.parametrize("temperature", [0.05, 1.0])
def test_vectorised_field_is_that_of_the_loops(clouds, temperature, floor):
    x, y = clouds
    field = affinity.affinity_field(x, y, temperature, floor=floor)
    for r in range(2):
        slow = affinity.affinity_field_by_loops(x[r], y[r], temperature, floor=floor)
        np.testing.assert_allclose(field[r], slow, rtol=1e-12, atol=1e-12 * np.abs(slow).max())
    shared = affinity.affinity_field(x, y[:1], temperature, floor=floor)
    np.testing.assert_allclose(shared[1], affinity.affinity_field(x[1:], y[:1], temperature, floor=floor)[0], rtol=1e-13)


def test_field_of_two_particles_and_one_point_by_hand():
    x, y = np.array([[[0.0], [1.0]]]), np.array([[[3.0]]])
    # Rows: positive e^-3, e^-2 against the other particle's e^-1; columns: e^-3 against e^-2, and a negative's own is masked.
    row, column = (np.exp(-3) / (np.exp(-3) + np.exp(-1)), np.exp(-2) / (np.exp(-2) + np.exp(-1))), np.exp(-3) / (np.exp(-3) + np.exp(-2))
    positive = np.sqrt([row[0] * column, row[1] * (1 - column)])
    negative = np.sqrt([1 - row[0], 1 - row[1]])
    exact = positive * negative * [3.0 - 1.0, 3.0 - 0.0]
    np.testing.assert_allclose(affinity.affinity_field(x, y, 1.0)[0, :, 0], exact, rtol=1e-13)


@pytest.mark.parametrize("floor", [0.0, 1e-3])
def test_field_moves_with_the_plane_and_scales_with_the_temperature(clouds, floor):
    x, y = clouds
    field = affinity.affinity_field(x, y, 0.3, floor=floor)
    np.testing.assert_allclose(affinity.affinity_field(x + 5.0, y + 5.0, 0.3, floor=floor), field, atol=1e-12)
    np.testing.assert_allclose(affinity.affinity_field(2 * x, 2 * y, 0.6, floor=floor), 2 * field, atol=1e-12)


def test_far_clouds_keep_a_direction_until_their_affinities_are_lost():
    x, y = np.array([[[0.0], [0.1]]]), np.array([[[10.0], [10.1]]])
    assert 0 < np.abs(affinity.affinity_field(x, y, 0.02)).max() < 1e-100
    single = affinity.combined_field(x, y, (0.02,))
    assert (single > 0).all() and np.sqrt((single**2).mean()) == pytest.approx(1.0)
    assert (affinity.combined_field(x, y + 20.0, (0.02,)) == 0).all()


def test_every_temperature_counts_alike(clouds):
    x, y = clouds
    single = affinity.combined_field(x, y, (0.1,))
    np.testing.assert_allclose((single**2).mean((1, 2)), 1.0, rtol=1e-12)
    pair = affinity.combined_field(x, y, (0.1, 0.4))
    np.testing.assert_allclose(pair, single + affinity.combined_field(x, y, (0.4,)), rtol=1e-12)


def test_bad_input_is_refused(clouds):
    x, y = clouds
    for change in ({"x": x[:, :1]}, {"y": y[..., :1]}, {"temperature": 0.0}, {"floor": -1.0}):
        arguments = {"x": x, "y": y, "temperature": 0.1, "floor": 0.0, **change}
        with pytest.raises(ValueError, match="not"):
            affinity.affinity_field(arguments["x"], arguments["y"], arguments["temperature"], floor=arguments["floor"])


def test_the_floor_decides_far_away_only():
    ds = affinity.check_affinity(seed=1, particles=32, replicates=2)
    far, near = ds.isel(distance=-1), ds.isel(distance=0)
    assert far["floor_ratio"].max() < 0.1 < 0.5 < near["floor_ratio"].min()
    assert far["floor_angle"].min() > 45 > 20 > near["floor_angle"].max()
    assert ds["loop_residual"].max() < 1e-13 < 0.01 < ds["loop_residual_unmasked"].min()
