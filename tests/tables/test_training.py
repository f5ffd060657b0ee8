"""The table of the generators against the Dataset it is made from."""

import numpy as np
import pytest
import xarray as xr

from driftrates.tables.training import generator_quality


@pytest.fixture
def found():
    rng, each = np.random.default_rng(1), ("field", "replicate")
    variables = {f"{m}_{who}": (each, rng.random((2, 2))) for m in ("w2", "mmd") for who in ("generator", "particles")}
    variables |= {f"{m}_{who}": ("replicate", rng.random(2)) for m in ("w2", "mmd") for who in ("data", "untrained")}
    variables |= {"particle_steps": (each, [[4, 8], [1, 3]]), "evaluations": (each, np.ones((2, 2)))}
    variables["regression_error"] = (each, np.full((2, 2), 0.914))
    return xr.Dataset(variables, {"field": ["sharp", "sinkhorn"]}, {"data": "swiss_roll"})


def test_every_field_has_a_row_of_means_and_intervals(found):
    table = generator_quality({"generators_swiss_roll": found}).set_index("field")
    assert table.index.tolist() == ["sharp", "sinkhorn"] and set(table["data"]) == {"swiss roll"} and set(table["seeds"]) == {2}
    values = found["w2_generator"].sel(field="sharp").values
    half = 12.7062 * abs(values[0] - values[1]) / 2  # Student's 97.5 % quantile with one degree of freedom
    shown = table.loc["sharp", "W2 generator"].split(" ± ")
    np.testing.assert_allclose([float(v) for v in shown], [values.mean(), half], rtol=0.06)
    assert table.loc["sinkhorn", "W2 data"] == table.loc["sharp", "W2 data"]
    last = ["particle steps", "evaluations per sample", "regression error / step"]
    assert table.loc["sharp", last].tolist() == [6, 1.0, 0.91]


def test_a_single_seed_has_no_interval(found):
    single = generator_quality({"generators_swiss_roll": found.isel(replicate=[0])})
    assert single["W2 data"][0] == f"{float(found['w2_data'][0]):.3g}"
    assert not single.map(lambda v: "±" in str(v)).any(axis=None)
