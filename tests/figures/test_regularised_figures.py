"""The figure of regularised kernels, from a small Dataset that the library makes."""

import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from driftrates import figures
from driftrates.figures import regularised
from driftrates.laplace.regularised import SUPREMUM, bounds, measure_regularised

OPTIONS = {"dimensions": [1, 2], "sizes": [6, 12, 24], "largest": 12, "atoms": 6, "epsilons": [1.0, 0.1, 0.01, 0.001], "replicates": 2}


@pytest.fixture(scope="module")
def data():
    return {"regularised": measure_regularised(seed=4, samples=128, points=64, scramblings=2, **OPTIONS)}


@pytest.fixture(scope="module")
def drawn(data):
    return regularised.plot(data)


def test_axes_are_labelled_and_no_label_meets_another(drawn):
    assert drawn.get_size_inches()[0] == figures.DOUBLE
    renderer = FigureCanvasAgg(drawn).get_renderer()
    for ax in drawn.axes:
        assert ax.get_title(loc="left").startswith("$\\mathbf{")
        assert ax.get_xlabel() and ax.get_ylabel()
        for axis in (ax.xaxis, ax.yaxis):
            ends = sorted(axis.get_view_interval())
            shown = [t for t in axis.get_major_ticks() if ends[0] <= t.get_loc() <= ends[1] and t.label1.get_text()]
            assert len(shown) >= 2
            boxes = [t.label1.get_window_extent(renderer) for t in shown]
            assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2)), (ax.get_title(loc="left"), axis.axis_name)
    bounds_of = [ax.get_tightbbox(renderer) for ax in drawn.axes]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(bounds_of, 2))


def test_saves_are_byte_identical(data, tmp_path):
    for stem in ("first", "second"):
        figures.save(regularised.plot(data), tmp_path / stem)
    for suffix in (".svg", ".pdf", ".png"):
        assert (tmp_path / f"first{suffix}").read_bytes() == (tmp_path / f"second{suffix}").read_bytes()


def test_draws_the_measured_medians(data, drawn):
    ds = data["regularised"]
    kept = ds.sel(n_particles=[6, 12])
    cells = ("start", "n_particles", "replicate")
    lines = [line.get_ydata() for line in drawn.axes[0].lines]
    assert lines[1] == pytest.approx(kept["stein_constant"].sel(dimension=2, window="particles").median(cells).values)
    assert lines[2] == pytest.approx(kept["stein_constant"].sel(dimension=2, window="taylor").median(cells).values)
    ratio = (bounds(kept)["speed"].sel(case="largest") / kept["speed_gap"]).sel(dimension=1).median(cells)
    assert any(line.get_ydata() == pytest.approx(ratio.values) for line in drawn.axes[2].lines)
    largest = kept["speed_constant"].sel(dimension=2, window=list(SUPREMUM)).max("window").median(cells)
    assert drawn.axes[1].get_ylim()[1] > float(largest.max())


def test_draws_every_particle_with_a_neighbour_above_the_line(data, drawn):
    ds = data["regularised"]
    for d, line in zip((2, 1), drawn.axes[5].lines[:2], strict=True):
        assert len(line.get_xdata()) == int((ds["floor"].sel(dimension=d) > 0).sum())
        assert (line.get_ydata() >= line.get_xdata()).all()
    low, high = drawn.axes[5].get_xlim()
    assert all((low <= line.get_xdata()).all() and (np.asarray(line.get_ydata()) <= high).all() for line in drawn.axes[5].lines[:2])
