"""Figures of the baselines from small Datasets: labelled, on the page, without overlaps, and drawing what the data hold."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from driftrates import figures
from driftrates.baselines import affinity, comparison
from driftrates.figures import affinity_floor, mode_coverage

MODULES = {"mode_coverage": mode_coverage, "affinity_floor": affinity_floor}


@pytest.fixture(scope="module")
def data():
    runs = comparison.compare_fields(seed=3, particles=16, replicates=2, evaluations=3, extended=6, bandwidths=(0.6, 1.2), factors=(0.5,))
    return {"mode_coverage": {"field_comparison": runs}, "affinity_floor": {"baselines": affinity.check_affinity(seed=1, particles=16)}}


@pytest.mark.parametrize("name", MODULES)
def test_figures_are_labelled_fit_the_page_and_do_not_overlap(name, data):
    figure = MODULES[name].plot(data[name])
    assert figure.get_size_inches()[0] == figures.DOUBLE
    canvas = FigureCanvasAgg(figure)
    (width, height), renderer = canvas.get_width_height(), canvas.get_renderer()
    boxes = [ax.get_tightbbox(renderer) for ax in figure.axes]
    for k, (ax, box) in enumerate(zip(figure.axes, boxes, strict=True)):
        assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1, ax.get_title(loc="left")
        for other in boxes[k + 1 :]:
            across = min(box.x1, other.x1) - max(box.x0, other.x0)
            along = min(box.y1, other.y1) - max(box.y0, other.y0)
            assert across <= 2 or along <= 2, ax.get_title(loc="left")
    letters = [ax.get_title(loc="left")[len(r"$\mathbf{")] for ax in figure.axes]
    assert letters == sorted(set(letters)) and len(letters) == len(figure.axes)


def test_clouds_and_their_modes_are_those_of_the_least_bandwidth(data):
    runs = data["mode_coverage"]["field_comparison"]
    figure = mode_coverage.plot.__wrapped__(data["mode_coverage"])
    shown = runs.sel(configuration="balanced, displaced", bandwidth=0.6)
    for ax, name in zip(figure.axes, mode_coverage._FIELDS, strict=False):
        np.testing.assert_array_equal(ax.lines[-1].get_xydata(), shown["cloud"].sel(field=name))
        assert ax.texts[0].get_text() == f"{float(shown['covered'].sel(field=name, checkpoint=3)[0]):.0f} of 8"
    curves = figure.axes[len(mode_coverage._FIELDS)]
    expected = runs["w2"].isel(configuration=0, bandwidth=0).sel(field="sinkhorn").mean("replicate").dropna("checkpoint")[1:]
    drawn = curves.lines[list(mode_coverage._FIELDS).index("sinkhorn")].get_ydata()
    np.testing.assert_allclose(drawn, expected)


def test_ratio_and_angle_are_the_means_over_samples(data):
    (checks,) = data["affinity_floor"].values()
    figure = affinity_floor.plot.__wrapped__(data["affinity_floor"])
    for ax, name in zip(figure.axes, ("floor_ratio", "floor_angle"), strict=False):
        for line, t in zip(ax.lines, checks["temperature"].values, strict=False):
            np.testing.assert_allclose(line.get_ydata(), checks[name].sel(temperature=t).mean("sample"))
            np.testing.assert_allclose(line.get_xdata(), checks["distance"] / t)
