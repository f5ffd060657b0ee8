"""The figure of the leave-one-out budget from small measurements: what it draws, labels, nothing over the edge or over another."""

import itertools
from functools import partial

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba

from driftrates import figures, simulate
from driftrates.figures import laplace_entropy
from driftrates.measurements import entropy
from problems import LEAVE_ONE_OUT, normal, problem


@pytest.fixture(scope="module")
def data():
    base = partial(
        problem, **LEAVE_ONE_OUT, replicates=3, times={"stop": 2.0, "count": 9}, integrator={"rtol": 1e-4, "atol": 1e-6}, entropy=True
    )
    targets = {
        "d1": normal(1),
        **{f"d{d}": {"data": {"name": "gaussian", "dimension": d, "size": 20}} for d in (2, 3, 5)},
    }
    made = {name: simulate.simulate_flow(base(name=name, target=target), seed=1) for name, target in targets.items()}
    return {f"entropy/{name}": entropy.measure_entropy(ds, particles=2, samples=8) for name, ds in made.items()}


@pytest.fixture(scope="module")
def figure(data):
    return laplace_entropy.plot(data)


def test_labelled_within_the_page_and_without_overlap(figure):
    canvas = FigureCanvasAgg(figure)
    (width, height), renderer = canvas.get_width_height(), canvas.get_renderer()
    assert figure.get_size_inches()[0] == figures.DOUBLE and len(figure.axes) == 12
    boxes = [ax.get_tightbbox(renderer) for ax in figure.axes] + [figure.legends[0].get_window_extent(renderer)]
    for box in boxes:
        assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1
    for a, b in itertools.combinations(boxes, 2):
        assert min(a.x1, b.x1) - max(a.x0, b.x0) <= 1 or min(a.y1, b.y1) - max(a.y0, b.y0) <= 1
    assert all(ax.get_xlabel() for ax in figure.axes) and all(figure.axes[k].get_ylabel() for k in (0, 4, 8))


def test_entropy_with_its_integrated_budget(figure, data):
    for ax, ds in zip(figure.axes[:4], data.values(), strict=True):
        lines = [line for line in ax.lines if line.get_linestyle() == "-"]
        np.testing.assert_array_equal([line.get_ydata() for line in lines], ds["entropy"].values[0])
        dots = [line.get_ydata() for line in ax.lines if line.get_marker() == "."]
        np.testing.assert_allclose(dots, ds["entropy"].values[0], atol=1e-3)
        start = next(line for line in ax.lines if line.get_marker() == "D")
        assert start.get_ydata() == pytest.approx(float(ds["initial_kl"][0]))


def test_rates_beside_the_hidden_term(figure, data):
    for ax, ds in zip(figure.axes[4:8], data.values(), strict=True):
        for style, name, sign in (("-", "stein_drift", -1), ("--", "hidden_term", 1)):
            shown = [line.get_ydata() for line in ax.lines if line.get_linestyle() == style and len(line.get_xdata()) == 9]
            np.testing.assert_array_equal(shown, sign * ds[name].values[0])


def test_only_the_residual_of_the_leave_one_out_field_is_small(figure):
    for ax in figure.axes[8:]:
        for line in ax.lines:
            small = to_rgba(line.get_color()) == to_rgba(figures.PALETTE[0])
            assert (line.get_ydata() < 1e-3).all() if small else (line.get_ydata() > 1e-2).all()
        assert len(ax.lines) == 6


def test_equal_data_give_equal_bytes(data, tmp_path):
    one = {"entropy/d1": data["entropy/d1"].isel(n_particles=[0])}
    for k in range(2):
        figures.save(laplace_entropy.plot(one), tmp_path / str(k))
    assert (tmp_path / "0.svg").read_bytes() == (tmp_path / "1.svg").read_bytes()
