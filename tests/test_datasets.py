import inspect

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from driftrates import datasets
from driftrates.datasets import closed_form, clouds, describe, digits_basis, load

GENERATED = {
    "eight_gaussians": 2,
    "checkerboard": 2,
    "two_moons": 2,
    "swiss_roll": 2,
    "thin_horizontal": 2,
    "thin_vertical": 2,
    "gaussian": 2,
    "uniform": 2,
}


def test_every_name_is_described_and_tested():
    assert set(datasets.NAMES) == {*GENERATED, "mixture", "digits", "file"}
    for name in datasets.NAMES:
        description = describe(name)
        assert description.summary.endswith(".")
        assert "size" not in description.parameters
    assert describe("checkerboard").parameters == {"squares": 4, "extent": 2.0, "noise": 0.05}
    assert describe("file").parameters["path"] is inspect.Parameter.empty
    with pytest.raises(ValueError, match="unknown data set 'moons'; known: eight_gaussians, checkerboard"):
        describe("moons")


@pytest.mark.parametrize("name", GENERATED)
def test_points_depend_on_seed_name_and_labels_alone(name):
    spec = {"name": name, "size": 50}
    x = load(spec, seed=1)
    assert x.shape == (50, GENERATED[name])
    assert x.dtype == np.float64
    assert np.isfinite(x).all()
    load({**spec, "size": 20}, seed=1)
    np.testing.assert_array_equal(x, load(dict(reversed(spec.items())), seed=1))
    assert not np.array_equal(x, load(spec, seed=2))
    assert not np.array_equal(x, load(spec, seed=1, labels=("start", 0)))


def test_clouds_are_keyed_by_label_size_and_replicate():
    spec = {"name": "gaussian", "dimension": 3, "mean": [0, 0, 9]}
    x = clouds(spec, seed=0, label="Fig1", n_particles=8, replicates=4)
    assert x.shape == (4, 8, 3)
    assert len({row.tobytes() for row in x}) == 4
    np.testing.assert_array_equal(x[:2], clouds(spec, seed=0, label="Fig1", n_particles=8, replicates=2))
    assert not np.array_equal(x, clouds(spec, seed=0, label="T3.1", n_particles=8, replicates=4))
    with pytest.raises(ValueError, match="size must be an integer >= 2, not 1"):
        clouds(spec, seed=0, label="Fig1", n_particles=1, replicates=4)
    with pytest.raises(ValueError, match="replicates must be an integer >= 1"):
        clouds(spec, seed=0, label="Fig1", n_particles=2, replicates=0)


def test_eight_gaussians_stand_on_their_circle():
    x = load({"name": "eight_gaussians", "size": 40_000, "radius": 3.0, "standard_deviation": 0.1}, seed=0)
    sector = np.round(np.arctan2(x[:, 1], x[:, 0]) / (np.pi / 4)).astype(int) % 8
    centres = np.array([x[sector == s].mean(0) for s in range(8)])
    angles = np.arange(8) * np.pi / 4
    np.testing.assert_allclose(centres, 3 * np.stack([np.cos(angles), np.sin(angles)], 1), atol=0.01)
    assert np.std(x - centres[sector]) == pytest.approx(0.1, rel=0.02)
    assert np.bincount(sector).min() > 0.9 * 5000


@pytest.mark.parametrize("squares", [2, 3, 4])
def test_checkerboard_fills_every_other_square_evenly(squares):
    x = load({"name": "checkerboard", "size": 40_000, "squares": squares, "extent": 1.5, "noise": 0}, seed=0)
    cell = np.floor((x + 1.5) / 3 * squares).astype(int)
    assert cell.min() == 0
    assert cell.max() == squares - 1
    assert (cell.sum(1) % 2 == 0).all()
    counts = np.unique(cell, axis=0, return_counts=True)[1]
    assert len(counts) == (squares**2 + 1) // 2
    assert (abs(counts - counts.mean()) < 5 * np.sqrt(counts.mean())).all()
    noisy = load({"name": "checkerboard", "size": 40_000, "squares": squares, "extent": 1.5, "noise": 0.2}, seed=0)
    assert np.std(noisy - x) == pytest.approx(0.2, rel=0.02)


def test_two_moons_are_half_circles_about_two_centres():
    x = load({"name": "two_moons", "size": 10_000, "noise": 0}, seed=0)
    upper = np.isclose(np.hypot(x[:, 0] + 0.5, x[:, 1] + 0.25), 1) & (x[:, 1] >= -0.25)
    lower = np.isclose(np.hypot(x[:, 0] - 0.5, x[:, 1] - 0.25), 1) & (x[:, 1] <= 0.25)
    assert (upper | lower).all()
    assert 0.47 < upper.mean() < 0.53
    assert 0.47 < lower.mean() < 0.53


def test_swiss_roll_lies_on_its_spiral():
    x = load({"name": "swiss_roll", "size": 10_000, "noise": 0}, seed=0)
    radius = np.hypot(*x.T)
    assert radius.min() == pytest.approx(1 / 3, abs=1e-3)
    assert radius.max() == pytest.approx(1, abs=1e-3)
    angle = 4.5 * np.pi * radius
    np.testing.assert_allclose(x, radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1), atol=1e-12)


def test_thin_clusters_lie_along_their_axes():
    widths = {"standard_deviation_along": 2.0, "standard_deviation_across": 0.1, "size": 50_000}
    horizontal, vertical = (load({"name": name, **widths}, seed=0).std(0) for name in ("thin_horizontal", "thin_vertical"))
    np.testing.assert_allclose(horizontal, [2.0, 0.1], rtol=0.02)
    np.testing.assert_allclose(vertical, [0.1, 2.0], rtol=0.02)


def test_gaussian_uniform_and_mixture_follow_their_parameters():
    x = load({"name": "gaussian", "size": 50_000, "dimension": 3, "mean": [1, 2, 3], "standard_deviation": [0.1, 1, 2]}, seed=0)
    np.testing.assert_allclose(x.mean(0), [1, 2, 3], atol=0.05)
    np.testing.assert_allclose(x.std(0), [0.1, 1, 2], rtol=0.02)
    u = load({"name": "uniform", "size": 50_000, "dimension": 4, "low": 1, "high": 3}, seed=0)
    assert u.shape == (50_000, 4)
    np.testing.assert_allclose([u.min(0), u.max(0), u.std(0)], np.outer([1, 3, 2 / np.sqrt(12)], np.ones(4)), atol=0.01)
    m = load({"name": "mixture", "size": 50_000, "means": [0, 10], "weights": [1, 4], "standard_deviations": 0.5}, seed=0)
    assert (m > 5).mean() == pytest.approx(0.8, abs=0.01)


def test_closed_form_is_the_density_of_the_points():
    spec = {"name": "thin_vertical", "size": 100}
    np.testing.assert_allclose(closed_form(spec).covariances, [[0.05**2, 1.0]])
    assert closed_form({"name": "eight_gaussians"}).means.shape == (8, 2)
    with pytest.raises(ValueError, match="'two_moons' is not a Gaussian mixture"):
        closed_form({"name": "two_moons"})


@pytest.mark.parametrize("components", [2, 5, 10])
def test_digits_agree_with_scikit_learn_up_to_sign(components):
    x = load({"name": "digits", "components": components}, seed=0)
    expected = PCA(components, svd_solver="full").fit_transform(StandardScaler().fit_transform(load_digits().data))
    assert x.shape == (1797, components)
    np.testing.assert_allclose(x * np.sign(x[0]), expected * np.sign(expected[0]), rtol=1e-8, atol=1e-10)
    axes = digits_basis(components).axes
    assert (axes[np.arange(components), abs(axes).argmax(1)] > 0).all()


def test_digits_subsamples_are_nested_rows_of_the_whole():
    whole = load({"name": "digits"}, seed=3)
    small, large = (load({"name": "digits", "size": n}, seed=3) for n in (100, 300))
    np.testing.assert_array_equal(small, large[:100])
    rows = {row.tobytes() for row in whole}
    assert len({row.tobytes() for row in large} & rows) == 300
    assert not np.array_equal(large, load({"name": "digits", "size": 300}, seed=4))
    with pytest.raises(ValueError, match="size is 1798, but there are only 1797"):
        load({"name": "digits", "size": 1798}, seed=0)


def test_digits_basis_turns_samples_back_into_images():
    images = load_digits().images
    flat = images.reshape(-1, 64)
    basis = digits_basis(61)
    np.testing.assert_allclose(basis.inverse(basis.transform(flat)), images, atol=1e-10)
    few = digits_basis(10)
    coarse = few.inverse(few.transform(flat))
    assert coarse.shape == (1797, 8, 8)
    assert 0.1 < np.var(coarse - images) / np.var(images - images.mean(0)) < 0.6
    np.testing.assert_allclose(few.transform(coarse.reshape(-1, 64)), few.transform(flat), atol=1e-10)
    with pytest.raises(ValueError, match="components must be an integer from 1 to 61, not 62"):
        digits_basis(62)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("digits", "a data set is a mapping with the key name"),
        ({"size": 5}, "a data set is a mapping with the key name"),
        ({"name": "moons", "size": 5}, "unknown data set 'moons'; known:"),
        ({"name": "two_moons", "size": 5, "sigma": 1}, "'two_moons' has no key 'sigma'; allowed: size, noise"),
        ({"name": "two_moons"}, "size must be an integer >= 2, not None"),
        ({"name": "two_moons", "size": 1}, "size must be an integer >= 2, not 1"),
        ({"name": "two_moons", "size": 10.0}, "size must be an integer"),
        ({"name": "two_moons", "size": True}, "size must be an integer"),
        ({"name": "two_moons", "size": 5, "noise": -1}, "noise must be a number >= 0, not -1"),
        ({"name": "swiss_roll", "size": 5, "noise": "1e-3"}, "noise must be a number >= 0, not '1e-3'"),
        ({"name": "checkerboard", "size": 5, "squares": 1}, "squares must be an integer from 2"),
        ({"name": "checkerboard", "size": 5, "extent": float("inf")}, "extent must be a number > 0"),
        ({"name": "eight_gaussians", "size": 5, "radius": 0}, "radius must be a number > 0"),
        ({"name": "thin_vertical", "size": 5, "standard_deviation_across": 0}, "standard_deviation_across must be a number > 0"),
        ({"name": "gaussian", "size": 5, "dimension": 0}, "dimension must be an integer from 1 to 10000"),
        ({"name": "gaussian", "size": 5, "mean": [1, 2, 3]}, r"mean must be one number or 2 \(the dimension\), not 3"),
        ({"name": "gaussian", "size": 5, "standard_deviation": [1, -2]}, "standard_deviation must be positive"),
        ({"name": "uniform", "size": 5, "low": 1, "high": 1}, "high must be a number > 1"),
        ({"name": "mixture", "size": 5}, "'mixture' needs the key 'means'"),
        ({"name": "mixture", "size": 5, "means": [[0]]}, "exactly one of the keys standard_deviations and covariances"),
        ({"name": "digits", "components": 0}, "components must be an integer"),
        ({"name": "digits", "components": 65}, "components must be an integer from 1 to 61"),
        ({"name": "file"}, "'file' needs the key 'path'"),
        ({"name": "file", "path": 3}, "path must be the name of a file"),
    ],
)
def test_bad_specs_are_refused_by_key(spec, message):
    with pytest.raises(ValueError, match=message):
        load(spec, seed=0)
