"""Figures of the residual and of the ejections, from small Datasets that the library makes."""

import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from driftrates import figures
from driftrates.figures import ejections, laplace_residual
from driftrates.laplace import ejection, mismatch


@pytest.fixture(scope="module")
def data():
    small = {"n_data": 6, "sizes": (6, 9), "bandwidths": (0.5,), "replicates": 4, "particles": 8, "levels": 3}
    return {
        "laplace_residual": {
            "mismatch": mismatch.measure_mismatch(**small, dimensions=(1, 2), horizon=8.0, octaves=2, samples=32, scramblings=2, seed=3)
        },
        "ejections": {
            "ejections": ejection.measure_ejections(
                dimensions=(1, 2), n_particles=10, n_data=12, replicates=16, horizon=32.0, octaves=3, step=0.25, lone=3, seed=20
            )
        },
    }


MODULES = {"laplace_residual": laplace_residual, "ejections": ejections}


@pytest.fixture(scope="module")
def drawn(data):
    return {name: module.plot(data[name]) for name, module in MODULES.items()}


@pytest.mark.parametrize("name", MODULES)
def test_panels_are_labelled_lettered_and_apart(name, drawn):
    figure = drawn[name]
    assert figure.get_size_inches()[0] == figures.DOUBLE
    canvas = FigureCanvasAgg(figure)
    (width, height), renderer = canvas.get_width_height(), canvas.get_renderer()
    letters = [ax.get_title(loc="left")[len(r"$\mathbf{")] for ax in figure.axes]
    assert letters == sorted(set(letters))
    boxes = [ax.get_tightbbox(renderer) for ax in figure.axes]
    for ax, box in zip(figure.axes, boxes, strict=True):
        assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1, ax.get_title(loc="left")
        assert ax.get_ylabel() or name == "ejections"
    for one, other in itertools.combinations(boxes, 2):
        across = min(one.x1, other.x1) - max(one.x0, other.x0)
        down = min(one.y1, other.y1) - max(one.y0, other.y0)
        assert across < 3 or down < 3


def lines(ax, **wanted):
    return [line for line in ax.lines if all(getattr(line, f"get_{key}")() == value for key, value in wanted.items())]


def test_the_residual_panels_hold_the_medians(data, drawn):
    m, axes = data["laplace_residual"]["mismatch"], drawn["laplace_residual"].axes
    found = [line.get_ydata() for line in lines(axes[0], marker="o")]
    expected = m["frozen_residual"].sel(dimension=1).isel(level=slice(1, None)).median("replicate")
    np.testing.assert_allclose(found, expected)
    assert len(lines(axes[2])) == m.sizes["replicate"] + 2
    loo = int((m["field"] == "leave_one_out").sum())
    assert len(lines(axes[3])) == loo


def test_the_ejection_panels_hold_every_field_and_count(data, drawn):
    e, axes = data["ejections"]["ejections"], drawn["ejections"].axes
    assert len(lines(axes[0])) == 7
    shares = np.concatenate([np.atleast_1d(line.get_ydata()) for line in axes[2].lines if line.get_marker() in "os^"])
    np.testing.assert_allclose(np.sort(shares), np.sort(e["share"].values.ravel()))
    assert len(lines(axes[3])) == 6
    known = int((e["predicted_bound"] < abs(e["predicted_velocity"])).sum())
    assert sum(len(line.get_xdata()) for line in axes[4].lines if line.get_marker() in ("o", "s", "^")) == known > 0
