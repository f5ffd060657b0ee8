"""Generators and exactly moved particles on tiny problems whose outcome is known."""

import numpy as np
import pytest

from driftrates.fields import DriftField, SmoothedPoints
from driftrates.kernels import Gaussian
from driftrates.training import generator

TINY = {"noise": 2, "hidden": (16,), "batch": 8, "steps": 6, "samples": 16, "replicates": 2, "seed": 4}


@pytest.fixture(scope="module")
def found():
    return generator.train_generators({"name": "swiss_roll"}, bandwidth=0.3, **TINY)


def attraction(x, y):
    return y.mean(1, keepdims=True) - x


def test_a_network_learns_the_frozen_targets_of_a_known_field():
    rng = np.random.default_rng(0)
    model = generator.Generator(2, 2, (16,), 32, 1e-2, seed=1)
    data, z = np.array([[1.0, -2.0], [3.0, 0.0]]), rng.standard_normal((64, 2))
    before = model(z)
    for _ in range(300):
        model.step(rng.standard_normal((32, 2)), data, attraction, 0.5)
    after = model(z)
    wide, narrow = (np.abs(cloud - data.mean(0)).max() for cloud in (before, after))
    assert narrow < 0.2 < 1.0 < wide
    assert model.evaluations == 64 + 300 * 32 + 64
    model.network.predict(z[:5])
    assert model.evaluations == 64 + 300 * 32 + 64 + 5, "counted where the network is evaluated, whoever asks"


def test_targets_are_the_frozen_ones_of_the_batch():
    model, z = generator.Generator(2, 2, (4,), 8, 1e-3, seed=1), np.random.default_rng(0).standard_normal((8, 2))
    x, y = model(z), np.array([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
    target = model.step(z, y, generator.kernel_velocity("conservative", "gaussian", 0.6), 0.25)
    field = DriftField("conservative", SmoothedPoints(y[None], Gaussian(), 0.6), Gaussian(), 0.6)
    np.testing.assert_allclose(target, x + 0.25 * field.at_particles(x[None]).velocity[0], rtol=1e-12)
    assert np.abs(model(z) - x).max() > 0


def test_exact_regression_is_a_loop_of_steps_that_ends_at_rest():
    y = np.random.default_rng(0).standard_normal((2, 5, 2))
    x = y + 3.0
    moved, steps = generator.exact_regression(x, y, attraction, 0.5, 4)
    centre = y.mean(1, keepdims=True)
    np.testing.assert_allclose(moved, centre + 0.5**4 * (x - centre), rtol=1e-12)
    assert steps == 4
    moved, steps = generator.exact_regression(x, y, attraction, 0.5, 100)
    assert 8 < steps < 20
    assert np.abs(moved - centre).max() < 0.01


def test_the_sinkhorn_field_at_the_data_is_zero_and_pulls_elsewhere():
    y = np.random.default_rng(0).standard_normal((2, 6, 2))
    velocity = generator.sinkhorn_velocity(0.8)
    pulled = velocity(y + 1.0, y)
    np.testing.assert_allclose(pulled.mean(1), -1.0, atol=0.1)
    assert np.abs(generator.sinkhorn_velocity(0.8)(y, y)).max() < 1e-12


def test_bandwidths_give_both_kernels_equal_second_moments():
    from driftrates.kernels import Laplace

    for d in (1, 2, 10):
        wide = generator.FIELDS["conservative"].bandwidth(0.3, d)
        assert wide**2 * Gaussian().second_moment(d) == pytest.approx(0.3**2 * Laplace().second_moment(d))
        assert generator.FIELDS["sharp"].bandwidth(0.3, d) == 0.3


def test_training_and_held_out_points_are_disjoint_parts():
    train, held_out = generator.split({"name": "digits", "components": 3}, 100, seed=1, replicate=0)
    assert train.shape == held_out.shape == (100, 3)
    assert not set(map(tuple, train)) & set(map(tuple, held_out))
    assert not np.array_equal(train, generator.split({"name": "digits", "components": 3}, 100, seed=1, replicate=1)[0])
    with pytest.raises(ValueError, match="only 1797 points"):
        generator.split({"name": "digits"}, 900, seed=1, replicate=0)
    with pytest.raises(ValueError, match="samples says"):
        generator.split({"name": "digits", "size": 50}, 20, seed=1, replicate=0)


def test_dataset_is_complete_and_repeatable(found):
    assert found["w2_generator"].sizes == {"field": 4, "replicate": 2}
    assert found["w2_data"].sizes == {"replicate": 2}
    assert all(v.attrs["long_name"] and v.attrs["units"] for v in found.data_vars.values())
    assert all(np.isfinite(v).all() for v in found.data_vars.values())
    assert (found["evaluations"] == 1).all()
    assert (found["particle_steps"] <= TINY["steps"]).all()
    assert found.identical(generator.train_generators({"name": "swiss_roll"}, bandwidth=0.3, **TINY))


def test_distances_are_those_of_the_stored_clouds(found):
    from driftrates.measurements.transport import squared_w2

    held_out = found["held_out"].values
    for who, cloud in (("generator", "generated"), ("particles", "moved")):
        exact = [squared_w2(c, held_out).squared_distance ** 0.5 for c in found[cloud].values]
        np.testing.assert_allclose(found[f"w2_{who}"][:, 0], exact, rtol=1e-12)


def test_samples_must_fill_clouds():
    with pytest.raises(ValueError, match="multiple of batch"):
        generator.train_generators({"name": "swiss_roll"}, bandwidth=0.3, **{**TINY, "samples": 20})
