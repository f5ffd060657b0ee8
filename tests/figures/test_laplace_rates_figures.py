"""The figures of sections 6.6 and 6.7 from small studies: what they draw, labels, nothing over the edge or over another."""

import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from driftrates import figures
from driftrates.figures import laplace_comparison, laplace_rates
from driftrates.laplace import comparison, rates


@pytest.fixture(scope="module")
def study():
    small = {"sizes": (6, 9, 12), "data_sizes": (8, 16), "replicates": 3, "horizon": 1.0, "samples": 16, "held_out": 64, "projections": 4}
    steps = {"step_particles": (6, 6), "step_bandwidths": (0.3, 0.6, 1.0), "halvings": 3, "resamples": 20}
    return rates.measure_laplace_rates(seed=2, **small, **steps, flights=((4, 3), (6, 8)), flight_replicates=2, flight_horizon=1.0)


@pytest.fixture(scope="module")
def table():
    small = {"particles": 8, "data": 16, "held_out": 16, "replicates": 3, "evaluations": 6, "sizes": (6, 8, 12)}
    return comparison.measure_comparison(seed=4, **small, bandwidth_grid=(0.1, 0.3, 0.6), factors=(0.25,), samples=16, resamples=20)


@pytest.fixture(scope="module")
def drawn(study, table):
    return {
        "rates": laplace_rates.plot({"laplace_rates": study}),
        "comparison": laplace_comparison.plot({"method_comparison": table}),
    }


@pytest.mark.parametrize(("name", "panels"), [("rates", 9), ("comparison", 8)])
def test_labelled_within_the_page_and_without_overlap(drawn, name, panels):
    figure = drawn[name]
    canvas = FigureCanvasAgg(figure)
    (width, height), renderer = canvas.get_width_height(), canvas.get_renderer()
    assert figure.get_size_inches()[0] == figures.DOUBLE and len(figure.axes) == panels
    boxes = [ax.get_tightbbox(renderer) for ax in figure.axes]
    boxes += [legend.get_window_extent(renderer) for sub in figure.subfigs for legend in sub.legends]
    for box in boxes:
        assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1
    for a, b in itertools.combinations(boxes, 2):
        assert min(a.x1, b.x1) - max(a.x0, b.x0) <= 1 or min(a.y1, b.y1) - max(a.y0, b.y0) <= 1
    assert all(ax.get_xlabel() for ax in figure.axes)
    assert all(rf"$\mathbf{{{c}}}$" in ax.get_title(loc="left") for c, ax in zip("abcdefghi", figure.axes, strict=False))


def test_medians_fits_and_steps_are_those_of_the_study(drawn, study):
    axes = drawn["rates"].axes
    shown = [line.get_ydata() for line in axes[0].lines if line.get_marker() == "o" and len(line.get_xdata()) == 3]
    exact = study["root_energy"].isel(case=int(np.flatnonzero((study["dimension"] == 1) & (study["start"] == "target"))[-1]))
    np.testing.assert_array_equal(shown[0], exact.sel(rule="occupancy").median("replicate"))
    for ax, i in zip(axes[6:8], range(2), strict=True):
        lines = [line.get_ydata() for line in ax.lines if len(line.get_xdata()) == 3 and line.get_linestyle() in ("-", "--")]
        for line, name in zip(lines, rates.METHODS, strict=True):
            np.testing.assert_array_equal(line, study["stable_step"].isel(step_dimension=i).sel(drift=name).median("step_replicate"))


def test_curves_are_means_at_the_best_bandwidth(drawn, table):
    axes = drawn["comparison"].axes
    for ax, metric in zip(axes, ("w2", "mmd"), strict=False):
        curves = [line.get_ydata() for line in ax.lines if len(line.get_xdata()) == table.sizes["checkpoint"] - 1]
        for k, curve in enumerate(curves):
            at = table[metric].isel(drift=k, bandwidth=int(table["best"][k]), checkpoint=slice(1, None))
            np.testing.assert_allclose(curve, at.mean("replicate"))
        assert len(curves) == table.sizes["drift"]
    for ax, name in zip(axes[3:], rates.METHODS, strict=True):
        np.testing.assert_array_equal(np.transpose(ax.lines[1].get_data()), table["cloud"].sel(drift=name))


def test_equal_data_give_equal_bytes(table, tmp_path):
    for k in range(2):
        figures.save(laplace_comparison.plot({"method_comparison": table}), tmp_path / str(k))
    assert (tmp_path / "0.svg").read_bytes() == (tmp_path / "1.svg").read_bytes()
