"""The figure and the table of the integrators from a small study."""

import numpy as np
import pytest

from driftrates.figures import integrators
from driftrates.performance import integrators as study
from driftrates.tables import integrators as tables
from pages import assert_panels_fit


@pytest.fixture(scope="module")
def data():
    widths = {"bandwidths": (0.2, 0.14, 0.1), "plane_bandwidths": (0.7, 0.6, 0.5)}
    options = {"replicates": 2, "tolerances": (1.0, 1e-2, 1e-4), "accuracies": (1e-1, 1e-2), "most_evaluations": 200}
    return {"integrators": study.measure_integrators(seed=4, **widths, **options)}


def test_figure_is_labelled_fits_the_page_and_draws_the_passes(data):
    figure = integrators.plot(data)
    assert_panels_fit(figure)
    assert len(figure.axes) == 6 and all(ax.get_xlabel() and ax.get_ylabel() for ax in figure.axes)
    passes = data["integrators"]["passes"].sel(rule="bandwidth", accuracy=1e-2).mean("replicate", skipna=False)
    for ax, case in zip(figure.axes[:3], study.CASES, strict=False):
        drawn = [np.asarray(line.get_ydata()) for line in ax.lines]
        for name in integrators.INTEGRATORS:
            assert any(np.array_equal(y, passes.sel(case=case, integrator=name), equal_nan=True) for y in drawn)


def test_table_gives_every_integrator_at_every_accuracy(data):
    frame, ds = tables.integrator_exponents(data), data["integrators"]
    assert len(frame) == 3 * 2 * 2 * 3
    own = frame[(frame["case"] == f"{study.CONSERVATIVE}, d = 1") & (frame["error below"] == "0.1 h")].set_index("integrator")
    at = ds.isel(case=0).sel(rule="bandwidth", accuracy=1e-1)
    for name in ("rkc", "dormand_prince"):
        row = own.loc[name.replace("_", "-")]
        least = float(at["passes"].sel(integrator=name).isel(level=-1).mean())
        assert float(row["passes, least h"]) == pytest.approx(least, rel=5e-3)
        value = float(at["exponent"].sel(integrator=name, bound="value"))
        assert float(row["exponent of 1/h"].split()[0]) == pytest.approx(value, abs=6e-3)
    assert own.loc["rkc", "over RKC"] == "1" and own.loc["euler", "predicted"] == "2" and own.loc["rkc", "predicted"] == "1.25"
    assert set(frame.loc[frame["case"].str.startswith("displacement"), "predicted"]) == {"0"}
