"""The figure of annealing from a small Dataset: labelled, on the page, without overlaps, and drawing what the data hold."""

import numpy as np
import pytest

from driftrates import figures
from driftrates.figures import annealing as module
from pages import assert_panels_fit
from problems import small_annealing


@pytest.fixture(scope="module")
def data():
    return {"annealing": small_annealing()}


def test_the_figure_is_labelled_fits_the_page_and_does_not_overlap(data):
    figure = module.plot(data)
    assert figure.get_size_inches()[0] == figures.DOUBLE
    assert all(ax.get_xlabel() for ax in figure.axes)
    assert_panels_fit(figure)
    letters = [ax.get_title(loc="left")[len(r"$\mathbf{")] for ax in figure.axes]
    assert letters == list("abcdefg")


def test_times_are_those_of_the_data(data):
    (study,) = data.values()
    figure = module.plot.__wrapped__(data)
    for ax, first in ((figure.axes[0], "fixed 0.25"), (figure.axes[1], "best fixed")):
        times = study["convergence_time"].sel(schedule=first)
        np.testing.assert_array_equal(ax.lines[0].get_ydata(), times.sel(equation="linear"))
        np.testing.assert_array_equal(ax.lines[3].get_ydata(), times.sel(equation="particles"))
    np.testing.assert_array_equal(figure.axes[1].lines[-2].get_ydata(), study["optimal_time"])


def test_contests_are_means_with_the_intervals_of_the_chosen(data):
    (study,) = data.values()
    ax = module.plot.__wrapped__(data).axes[3]
    case = study.isel(case=0)
    drawn = next(line for line in ax.lines if line.get_label() == "best annealed")
    np.testing.assert_allclose(drawn.get_ydata(), case["contest"].sel(contender="best annealed").mean("replicate")[1:])
    chosen = int(case["choice"].sel(contender="best fixed", checkpoint=4))
    assert ax.collections[0].get_segments()[1][1, 1] == pytest.approx(
        float(case["distance"].sel(checkpoint=4)[chosen] + case["distance_error"].sel(checkpoint=4)[chosen])
    )
