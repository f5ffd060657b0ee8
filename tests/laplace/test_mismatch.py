"""delta, E# and S# of frozen clouds and of flows, against the other implementation, plain sums and known cases."""

import numpy as np
import pytest

from driftrates import kernels
from driftrates.fields import DriftField, SmoothedPoints
from driftrates.laplace import coercivity, decomposition, mismatch

H = 0.6
NAMES = {
    "residual": "residual",
    "energy": "energy",
    "stein": "coercive",
    "weighted_residual": "weighted_residual",
}


def make_pair(d, n=12, m=9, seed=0):
    rng = np.random.default_rng(seed)
    return 1.3 * rng.standard_normal((1, n, d)) + 0.3, rng.standard_normal((1, m, d))


def test_parts_are_the_two_terms_of_the_velocity():
    cloud, data = make_pair(3)
    points = np.random.default_rng(5).standard_normal((1, 40, 3)) * 3
    at = mismatch.parts(points, cloud, data, H)
    field = DriftField("displacement", SmoothedPoints(data, kernels.Laplace(), H), kernels.Laplace(), H)
    np.testing.assert_allclose(at.velocity, field.at(points, cloud).velocity, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(at.model_scale[..., None] * at.gap + at.residual, at.velocity, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("d", [1, 2])
def test_integrals_agree_with_quadrature_and_independent_samples(d):
    cloud, data = make_pair(d)
    found = mismatch.integrals(cloud, data, H, samples=1024, scramblings=8, seed=1)
    field = DriftField("displacement", SmoothedPoints(data, kernels.Laplace(), H), kernels.Laplace(), H, True)
    reference = coercivity.integrals(field, cloud[0], samples=1024, scramblings=8, seed=2)
    for name, other in NAMES.items():
        values = found[name][0]
        error = np.hypot(values.std(ddof=1) / 8**0.5, reference.error[other])
        assert abs(values.mean() - reference.value[other]) < 6 * error + 1e-3 * abs(reference.value[other]), name


@pytest.mark.parametrize("kind", mismatch.DEFORMATIONS)
@pytest.mark.parametrize("d", [1, 2])
def test_no_mismatch_is_the_data_and_leaves_no_residual(kind, d):
    data, centres = mismatch.sample_modes(np.random.default_rng(1), 10, d)
    cloud = mismatch.deform(data, centres, kind, 0.0, copies=4)
    np.testing.assert_array_equal(np.unique(cloud, axis=0), np.unique(data, axis=0))
    found = mismatch.integrals(cloud[None], data[None], H, samples=64, scramblings=2, seed=1)
    assert max(np.abs(v).max() for v in found.values()) < 1e-20


def test_deformations_do_what_they_say():
    data, centres = mismatch.sample_modes(np.random.default_rng(2), 4000, 2)
    wide = mismatch.deform(data, centres, "scale", 0.25)
    np.testing.assert_allclose(wide - centres, 1.25 * (data - centres), atol=1e-12)
    heavy = mismatch.deform(data, centres, "tails", 0.25) - centres
    assert (heavy**2).sum(1).mean() == pytest.approx(((data - centres) ** 2).sum(1).mean(), rel=0.1)
    assert ((heavy**2).sum(1) ** 2).mean() > 1.5 * (((data - centres) ** 2).sum(1) ** 2).mean()
    moved = mismatch.deform(data[:50], centres[:50], "mass", 0.25, copies=8)
    counts = np.unique(moved, axis=0, return_counts=True)[1]
    assert len(moved) == 400 and sorted(set(counts)) == [2, 6, 8] and (moved[:, 0] > 0).mean() < 0.45


@pytest.mark.parametrize(("kind", "value"), [("tails", 0.5), ("mass", 1.5), ("scale", -0.1), ("shift", 0.1)])
def test_deform_names_what_it_knows(kind, value):
    with pytest.raises(ValueError, match="one of scale, tails, mass"):
        mismatch.deform(np.ones((4, 1)), np.zeros((4, 1)), kind, value)


def test_the_formula_of_r_needs_the_score_of_the_data():
    cloud, data = make_pair(2)
    points = np.random.default_rng(3).standard_normal((30, 2))
    good, bad = mismatch.identity_defects(cloud[0], data[0], H, points)
    assert good < 1e-12 < 1e-2 < bad


def test_cases_form_a_star_about_the_wide_start():
    listed = list(mismatch.cases((4, 8, 12), 8, (0.25, 0.5, 1.0)))
    assert len(listed) == len(set(listed)) == 6 + 8 + 4
    assert {c.h for c in listed if c.field == "full"} == {0.5}


@pytest.mark.parametrize("start", mismatch.STARTS)
def test_starts_are_reproducible_and_shared_by_both_fields(start):
    data = np.stack([mismatch.sample_modes(np.random.default_rng(r), 8, 2)[0] for r in range(3)])
    one, other = (mismatch.starts(mismatch.Case(field, start, 12, 0.5), data, seed=4) for field in mismatch.FIELDS)
    np.testing.assert_array_equal(one, other)
    assert one.shape == (3, 12, 2) and not np.array_equal(one, mismatch.starts(mismatch.Case("full", start, 12, 0.5), data, seed=5))
    if start == "near":
        assert np.abs(one - data[:, np.arange(12) % 8]).max() < 0.5


def test_observables_along_a_path():
    cloud, data = make_pair(2, n=3, m=2)
    found = mismatch.along_path(mismatch.Case("leave_one_out", "wide", 3, H), cloud, data)
    laplace = kernels.Laplace()
    v = DriftField("displacement", SmoothedPoints(data, laplace, H), laplace, H, True).at_particles(cloud).velocity[0]
    squared = (v**2).sum(1)
    assert found["speed"][0] == pytest.approx(squared.mean())
    assert found["top_share"][0] == pytest.approx(squared.max() / squared.sum())
    gap = decomposition.laplace_radius(cloud[0], data[0], H)[1] - decomposition.laplace_radius(cloud[0], cloud[0], H)[1]
    assert found["radius_gap"][0] == pytest.approx(np.abs(gap).mean())
    assert found["distance"][0] == pytest.approx(np.linalg.norm(cloud[0][:, None] - data[0], axis=2).min(1).max())


@pytest.fixture(scope="module")
def measured():
    options = {"dimensions": (1,), "n_data": 6, "sizes": (6, 9), "bandwidths": (0.5,), "replicates": 4, "particles": 8, "levels": 3}
    return mismatch.measure_mismatch(**options, horizon=16.0, octaves=3, samples=64, scramblings=2, seed=3)


def test_every_variable_is_described_and_finite(measured):
    for name, variable in measured.variables.items():
        assert variable.attrs["long_name"] and variable.attrs["units"], name
        assert variable.dtype == object or np.isfinite(variable.values).all(), name
    np.testing.assert_allclose(measured["time"], 2.0 ** np.arange(1, 4.25, 0.5))


def test_the_first_output_times_follow_the_flow(measured):
    data = np.stack([mismatch.sample_modes(mismatch.random.generator(3, "mismatch data", 1, r), 6, 1)[0] for r in range(4)])
    case = mismatch.Case("leave_one_out", "wide", 6, 0.5)
    x, laplace = mismatch.starts(case, data, seed=3), kernels.Laplace()
    field = DriftField("displacement", SmoothedPoints(data, laplace, 0.5), laplace, 0.5, True)
    for _ in range(2000):
        middle = x + 0.0005 * field.at_particles(x).velocity
        x = x + 0.001 * field.at_particles(middle).velocity
    speed = (field.at_particles(x).velocity ** 2).sum(-1).mean(1)
    stored = measured["speed"].isel(dimension=0, case=0, time=0).values
    np.testing.assert_allclose(stored, speed, rtol=2e-3)


@pytest.mark.parametrize("change", [{"n_data": 7}, {"bandwidths": (0.5, 1.0)}, {"octaves": 1}, {"replicates": 3}])
def test_bad_options_are_named(change):
    with pytest.raises(ValueError, match="mismatch needs"):
        mismatch.measure_mismatch(**{"n_data": 6, "sizes": (6,), "seed": 1, **change})


@pytest.mark.parametrize("change", [{"samples": 96}, {"scramblings": 1}])
def test_points_that_are_no_scramblings_are_named(change):
    cloud, data = make_pair(1)
    given = {"samples": 64, "scramblings": 2, **change}
    for call in (
        lambda: mismatch.measure_mismatch(seed=1, **given),
        lambda: mismatch.integrals(cloud, data, H, seed=1, **given),
    ):
        with pytest.raises(ValueError, match="scramblings >= 2 and samples a power of two"):
            call()
