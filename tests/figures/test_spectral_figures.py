"""Figures of the spectra from small measurements: labelled axes inside the page, what they draw, no text over text."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from driftrates import figures
from driftrates.figures import hermite_spectrum, identifiability, spectra
from driftrates.spectral import hermite, mean_field, particles

MODULES = {"spectra": spectra, "identifiability": identifiability, "hermite_spectrum": hermite_spectrum}


@pytest.fixture(scope="module")
def data():
    return {
        "spectra": mean_field.measure_spectra(seed=1, wave_numbers=(1, 2, 4, 8, 24), stop=6.0, points=48),
        "torus_particles": particles.measure_particles(
            seed=1, wave_numbers=(1, 2), n_particles=32, replicates=2, floor_sizes=(16, 32, 64), floor_replicates=4, resamples=49
        ),
        "hermite": hermite.measure_hermite(seed=1, bandwidths=(0.5, 1.0), degree=8, fitted=4, stop=2.0),
    }


@pytest.mark.parametrize("name", MODULES)
def test_figures_are_labelled_and_fit_the_page(name, data):
    figure = MODULES[name].plot(data)
    assert figure.get_size_inches()[0] == figures.DOUBLE
    canvas = FigureCanvasAgg(figure)
    (width, height), renderer = canvas.get_width_height(), canvas.get_renderer()
    boxes = []
    for ax in figure.axes:
        assert ax.get_xlabel() and ax.get_ylabel()
        assert any(np.isfinite(np.asarray(line.get_ydata(), float)).any() for line in ax.lines)
        box = ax.get_tightbbox(renderer)
        assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1
        boxes += [
            text.get_window_extent(renderer) for text in (ax.title, ax._left_title, ax.xaxis.label, ax.yaxis.label) if text.get_text()
        ]
    for i, one in enumerate(boxes):
        assert not any(one.overlaps(other) for other in boxes[:i])


def test_the_rates_drawn_are_those_measured(data):
    ax = spectra.plot.__wrapped__(data).axes[0]
    ds = data["spectra"].sel(kernel="laplace", field="displacement")
    drawn = [line.get_ydata() for line in ax.lines if line.get_marker() == "x"]
    assert any(np.array_equal(np.asarray(values), ds["nonlinear"].values) for values in drawn)
    curves = [np.asarray(line.get_ydata()) for line in ax.lines if line.get_marker() == "None"]
    assert any(np.array_equal(values, ds["curve"].values) for values in curves)


def test_the_fields_drawn_keep_their_zeros_visible(data):
    ax = identifiability.plot.__wrapped__(data).axes[1]
    drawn = np.array([line.get_ydata() for line in ax.lines], float)
    speed = data["spectra"]["probe_speed"].sel(probe_field="conservative", background="not uniform")
    assert (drawn > 0).all()
    assert any(np.array_equal(row, speed.sel(probe="laplace").values) for row in drawn)
    assert drawn.min() < 1e-14


def test_the_closure_is_drawn_for_the_gaussian_kernel(data):
    ax = hermite_spectrum.plot.__wrapped__(data).axes[1]
    exact = data["hermite"]["closure"].isel(bandwidth=0, start=0).sel(closed="mean").values
    assert any(np.array_equal(np.asarray(line.get_ydata()), exact) for line in ax.lines)
