"""The table of the field comparison against the Dataset it is made from."""

import numpy as np
import pytest
import xarray as xr

from driftrates.baselines import comparison
from driftrates.tables import baselines as tables


@pytest.fixture
def runs():
    cells = ("configuration", "field", "bandwidth", "replicate", "checkpoint")
    sizes = (2, 2, 2, 3, 3)
    values = np.random.default_rng(1).random(sizes)
    pairs = np.broadcast_to(np.array([0.0, 1.0, 2.0]) * np.array([1.0, 10.0])[:, None, None, None], sizes).copy()
    variables = {name: (cells, values + k) for k, name in enumerate(("w2", "mmd", "covered"))}
    variables |= {f"data_{name}": (cells[::3], np.full((2, 3), 0.25)) for name in ("w2", "mmd", "covered")}
    variables |= {"pairs": (cells, pairs), "step_factor": (cells[1:3], np.full((2, 2), 0.5))}
    coordinates = {"configuration": ["a", "b"], "field": ["sharp", "sinkhorn"], "bandwidth": [0.3, 1.2], "checkpoint": [0, 1, 2]}
    return xr.Dataset(variables, coordinates, {"evaluations": 2})


def test_every_cell_has_a_row_and_the_data_one_per_configuration(runs):
    frame = tables.field_comparison({"field_comparison": runs})
    assert len(frame) == 2 * (1 + 2 * 2) and (frame["seeds"] == 3).all()
    assert frame.loc[0, ["field", "W2"]].tolist() == ["training data", "0.25 ± 0"]
    row = frame.iloc[4]
    assert row[["configuration", "field", "h", "step"]].tolist() == ["a", "Sinkhorn", "1.2", "0.5"]
    cell = runs["w2"].sel(configuration="a", field="sinkhorn", bandwidth=float(row["h"]), checkpoint=2)
    mean, half = (float(text) for text in row["W2"].split(" ± "))
    assert mean == pytest.approx(float(cell.mean()), rel=0.01)
    assert half == pytest.approx(4.302653 * float(cell.std(ddof=1)) / np.sqrt(3), rel=0.05)
    assert float(row["pairs per evaluation"]) == 10.0


def test_equal_cost_is_the_dearest_field_at_its_start(runs):
    frame = tables.field_comparison({"field_comparison": runs}).set_index(["configuration", "field", "h"])
    cheap = comparison.at_equal_cost(runs)
    assert cheap.attrs["budget"] == 2.0
    start = runs["w2"].sel(configuration="b", field="sinkhorn", bandwidth=0.3, checkpoint=0).mean()
    assert float(frame.loc[("b", "Sinkhorn", "0.3"), "W2 at equal cost"].split(" ")[0]) == pytest.approx(float(start), rel=0.01)
