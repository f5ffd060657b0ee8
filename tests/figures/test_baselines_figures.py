"""Figures of the baselines from small Datasets: labelled, on the page, without overlaps, and drawing what the data hold."""

import numpy as np
import pytest

from driftrates import figures
from driftrates.baselines import affinity, comparison
from driftrates.figures import affinity_floor, mode_coverage
from pages import assert_panels_fit

MODULES = {"mode_coverage": mode_coverage, "affinity_floor": affinity_floor}


@pytest.fixture(scope="module")
def data():
    runs = comparison.compare_fields(seed=3, particles=16, replicates=2, evaluations=3, extended=6, bandwidths=(0.6, 1.2), factors=(0.5,))
    return {"mode_coverage": {"field_comparison": runs}, "affinity_floor": {"baselines": affinity.check_affinity(seed=1, particles=16)}}


@pytest.mark.parametrize("name", MODULES)
def test_figures_are_labelled_fit_the_page_and_do_not_overlap(name, data):
    figure = MODULES[name].plot(data[name])
    assert figure.get_size_inches()[0] == figures.DOUBLE
    assert_panels_fit(figure)
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
