"""Figures of training errors and generators, from tiny Datasets that the library makes."""

import importlib

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from driftrates import figures
from driftrates.training import errors, generator

TINY = {"hidden": (8,), "batch": 8, "steps": 3, "samples": 32, "replicates": 2, "seed": 4}


@pytest.fixture(scope="module")
def data():
    planar = {f"generators_{n}": generator.train_generators({"name": n}, bandwidth=0.3, **TINY) for n in ("swiss_roll", "checkerboard")}
    digits = {"generators_digits": generator.train_generators({"name": "digits", "components": 4}, bandwidth=1.0, **TINY)}
    small = errors.measure_training_errors(
        bandwidths=(0.5, 0.6, 0.8), particles=6, replicates=4, finest=6, inexact_particles=4, signs=2, seed=1
    )
    return {"training_errors": {"training_errors": small}, "generators": {**planar, **digits}, "generated_digits": digits}


@pytest.fixture(scope="module")
def drawn(data):
    return {name: importlib.import_module(f"driftrates.figures.{name}").plot(found) for name, found in data.items()}


@pytest.mark.parametrize("name", ["training_errors", "generators", "generated_digits"])
def test_figures_fit_the_page_and_panels_do_not_overlap(drawn, name, tmp_path):
    figure = drawn[name]
    assert figure.get_size_inches()[0] == figures.DOUBLE and figure.get_size_inches()[1] < 9
    boxes = [ax.get_window_extent() for ax in figure.axes]
    for k, one in enumerate(boxes):
        assert not any(one.overlaps(other) for other in boxes[k + 1 :])
    figures.save(figure, tmp_path / name)
    assert all((tmp_path / f"{name}{suffix}").stat().st_size > 5000 for suffix in (".svg", ".pdf", ".png"))


def test_titles_do_not_overlap(drawn):
    for figure in drawn.values():
        renderer = FigureCanvasAgg(figure).get_renderer()
        titles = [ax._left_title.get_window_extent(renderer) for ax in figure.axes if ax.get_title(loc="left")]
        assert len(titles) >= 4
        for k, one in enumerate(titles):
            assert not any(one.overlaps(other) for other in titles[k + 1 :])


def test_training_errors_draw_the_measured_errors_and_bounds(data, drawn):
    (ds,) = data["training_errors"].values()
    first, _, third, last = drawn["training_errors"].axes
    assert all(ax.get_xlabel() and ax.get_ylabel() for ax in drawn["training_errors"].axes)
    lines = [line.get_ydata() for line in first.lines]
    for h in ds["bandwidth"].values:
        mean = ds["euler_error"].sel(bandwidth=h).mean("replicate").values
        assert any(np.allclose(y, mean) for y in lines)
    ratios = (ds["path_bound"] / ds["euler_error"]).median("replicate")
    assert any(np.allclose(line.get_ydata(), ratios[0]) for line in third.lines)
    random = ds["typical_accumulated_error"].sel(kind="random sign").median("replicate") / ds.attrs["error"]
    assert any(np.allclose(line.get_ydata(), random) for line in last.lines if len(line.get_ydata()) == random.size)


def test_generators_draw_samples_and_every_seed(data, drawn):
    figure, ds = drawn["generators"], data["generators"]["generators_swiss_roll"]
    assert len(figure.axes) == 2 * 5 + 3
    sharp = figure.axes[3]
    np.testing.assert_array_equal(np.stack(sharp.lines[-1].get_data(), 1), ds["generated"].sel(field="sharp").values)
    panel = next(ax for ax in figure.axes if ax.get_ylabel().startswith("$W_2$"))
    drawn_values = np.concatenate([np.atleast_1d(line.get_ydata()) for line in panel.lines])
    assert np.isin(ds["w2_generator"].values, drawn_values).all()
    assert np.isin(ds["w2_particles"].values, drawn_values).all()


def test_digits_are_the_images_of_the_samples(data, drawn):
    from driftrates.datasets import digits_basis

    (ds,) = data["generated_digits"].values()
    axes = drawn["generated_digits"].axes
    assert len(axes) == 10
    image = np.asarray(axes[1].images[0].get_array())
    first = digits_basis(4).inverse(ds["generated"].values[0, 0])
    np.testing.assert_allclose(image[:8, :8], first)
