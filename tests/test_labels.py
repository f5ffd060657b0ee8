"""Labelled Datasets against xarray's own."""

import numpy as np
import pytest
import xarray as xr

from driftrates.labels import labelled


def test_every_entry_keeps_its_dims_values_text_and_unit():
    found = labelled(
        {"speed": (("case", "time"), np.ones((2, 3)), "speed of a cloud", "length"), "total": ((), 2.0, "its sum", "1")},
        {"time": ([0.0, 1.0, 2.0], "time", "s"), "start": ("case", ["near", "far"], "start", "1")},
        {"seed": 4},
    )
    expected = xr.Dataset(
        {
            "speed": (("case", "time"), np.ones((2, 3)), {"long_name": "speed of a cloud", "units": "length"}),
            "total": ((), 2.0, {"long_name": "its sum", "units": "1"}),
        },
        {
            "time": ("time", [0.0, 1.0, 2.0], {"long_name": "time", "units": "s"}),
            "start": ("case", ["near", "far"], {"long_name": "start", "units": "1"}),
        },
        {"seed": 4},
    )
    xr.testing.assert_identical(found, expected)


def test_an_entry_without_label_is_refused_by_name():
    with pytest.raises(ValueError, match="'speed' needs"):
        labelled({"speed": ("time", np.ones(3))})
