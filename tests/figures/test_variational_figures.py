"""Figures of the variational chapter from small studies: labels, what they draw, no overlap."""

import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba

from driftrates import figures
from driftrates.figures import gradient_flows, stop_gradient
from driftrates.variational import full_gradient, smoothed_kl

MODULES = {"gradient_flows": gradient_flows, "stop_gradient": stop_gradient}


@pytest.fixture(scope="module")
def data():
    small = {"bandwidths": [0.4, 0.5], "replicates": 2, "particles": 4, "horizon": 0.1, "steps": [1e-3, 1e-2], "step_replicates": 2}
    return {
        "gradient_flows": smoothed_kl.measure_gradient_flows(seed=1, draws=4, **small),
        "stop_gradient": full_gradient.measure_stop_gradient(seed=1, particles=8, replicates=2, horizon=2.0, outputs=4, points=64),
    }


@pytest.mark.parametrize("name", MODULES)
def test_panels_are_lettered_labelled_and_apart(name, data):
    figure = MODULES[name].plot({name: data[name]})
    assert figure.get_size_inches()[0] == figures.DOUBLE
    canvas = FigureCanvasAgg(figure)
    (width, height), renderer = canvas.get_width_height(), canvas.get_renderer()
    letters = [ax.get_title(loc="left") for ax in figure.axes]
    assert letters == sorted(letters) and len(set(letters)) == len(letters)
    boxes = [ax.get_tightbbox(renderer) for ax in figure.axes]
    for box in boxes:
        assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1
    for first, second in itertools.combinations(boxes, 2):
        assert not first.shrunk(0.98, 0.98).overlaps(second.shrunk(0.98, 0.98))
    for ax in figure.axes:
        assert ax.lines and any(np.isfinite(line.get_xydata()).any() for line in ax.lines)


def test_rates_fall_on_the_closed_forms_and_dissipation_on_kl(data):
    shown = gradient_flows.plot.__wrapped__({"gradient_flows": data["gradient_flows"]}).axes
    for flow, exponent in (("drift", -0.5), ("w2_flow", -1.0)):
        lines = [line for line in shown[1].lines if line.get_marker() in "ox" and line.get_color() == gradient_flows.COLOURS[flow]]
        assert len(lines) == 2
        for line in lines:
            x, y = line.get_xydata().T
            np.testing.assert_allclose(y, np.exp(exponent * x), rtol=1e-3)
    for ax in shown[3:]:
        dots = [line for line in ax.lines if line.get_marker() == "."]
        curves = [line for line in ax.lines if line.get_marker() != "."]
        for dot, curve in zip(dots, curves, strict=True):
            np.testing.assert_allclose(dot.get_ydata(), curve.get_ydata()[::2], rtol=1e-4)


def test_both_methods_are_drawn_for_every_kernel_and_negative_divergences_left_out(data):
    shown = stop_gradient.plot.__wrapped__({"stop_gradient": data["stop_gradient"]}).axes
    for ax in shown[:12]:
        for colour in stop_gradient.COLOURS.values():
            assert {line.get_linestyle() for line in ax.lines if to_rgba(line.get_color()) == to_rgba(colour)} == {"-", "--"}
    for ax in shown[:4]:
        for line in ax.lines:
            values = np.asarray(line.get_ydata())
            assert (values[np.isfinite(values)] > 0).all()
    clouds = shown[12:]
    assert len(clouds) == 4 and all(len(ax.collections) == 1 for ax in clouds)
