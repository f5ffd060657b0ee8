"""Figures of the Laplace field from a small study: what they draw, and that nothing covers anything."""

import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from driftrates import figures
from driftrates.figures import laplace_curl, laplace_decomposition
from driftrates.laplace.decomposition import measure_decomposition

MODULES = {"laplace_decomposition": laplace_decomposition, "laplace_curl": laplace_curl}


@pytest.fixture(scope="module")
def study():
    return measure_decomposition(seed=5, points=11, probes=4, starts=2)


@pytest.fixture(scope="module")
def drawn(study):
    return {name: module.plot({"decomposition": study}) for name, module in MODULES.items()}


@pytest.mark.parametrize("name", MODULES)
def test_axes_are_named_and_panels_apart(drawn, name):
    figure = drawn[name]
    assert figure.get_figwidth() <= figures.DOUBLE
    renderer = FigureCanvasAgg(figure).get_renderer()
    panels = [ax for ax in figure.axes if ax.get_title(loc="left")]
    assert len(panels) == 6 and all(ax.get_xlabel() and ax.get_ylabel() for ax in panels)
    boxes = [ax.get_tightbbox(renderer) for ax in panels]
    for a, b in itertools.combinations(boxes, 2):
        # colour bars stand inside the tight box of their panel
        assert min(a.x1, b.x1) - max(a.x0, b.x0) < 1 or min(a.y1, b.y1) - max(a.y0, b.y0) < 1
    inside = figure.bbox.padded(1)
    assert all(inside.x0 <= box.x0 and box.x1 <= inside.x1 and inside.y0 <= box.y0 and box.y1 <= inside.y1 for box in boxes)


def test_maps_are_those_of_the_study(study, drawn):
    h = study.attrs["bandwidth"]
    panels = drawn["laplace_decomposition"].axes[:5]
    for ax, name, unit in zip(panels, ("coherent", "residual", "share", "model_scale", "target_scale"), (h, h, 1, h**2, h**2), strict=True):
        np.testing.assert_array_equal(ax.images[0].get_array(), study[name].values / unit)
        np.testing.assert_array_equal(ax.collections[-1].get_offsets(), study["cloud"].values)
        np.testing.assert_array_equal(ax.collections[-2].get_offsets(), study["data"].values)
    for ax, values in zip(drawn["laplace_curl"].axes[:2], study["curl"].values, strict=False):
        np.testing.assert_array_equal(ax.images[0].get_array(), values)


def test_the_ray_is_drawn_in_units_of_h(study, drawn):
    lines = {line.get_label(): line for line in drawn["laplace_decomposition"].axes[5].lines}
    np.testing.assert_array_equal(lines["$|r|/h$"].get_ydata(), study["ray_residual"].values / study.attrs["bandwidth"])
    np.testing.assert_array_equal(lines["$|v|/h$"].get_xdata(), study["distance"].values / study.attrs["bandwidth"])


def test_loops_zeros_and_both_sides_of_stokes(study, drawn):
    curl, _, stokes, steps, distances, minima = drawn["laplace_curl"].axes[:6]
    assert [patch.radius for patch in curl.patches] == study["radius"].values.tolist()
    np.testing.assert_array_equal(curl.collections[-1].get_offsets(), study["zero_point"].values)
    np.testing.assert_array_equal(stokes.lines[-1].get_ydata(), np.abs(study["flux"].values))
    around = np.concatenate([line.get_ydata() for line in stokes.lines[:3]])
    np.testing.assert_array_equal(np.sort(around), np.sort(np.abs(study["circulation"].values[0])))
    assert len(steps.lines) == study.sizes["case"] * study.sizes["start"]
    assert len(distances.lines) == len(steps.lines) + 4
    ends = np.concatenate([line.get_ydata() for line in minima.lines])
    assert len(ends) == len(steps.lines) and (ends > 0).all()
