"""Table of the one-step generators."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import xarray as xr

from driftrates.tables.conservative import mean_interval

_TITLES = {"w2": "W2", "mmd": "MMD"}


def generator_quality(data: Mapping[str, xr.Dataset]) -> pd.DataFrame:
    """Means over seeds with Student's 95 % intervals of `generator.train_generators`, one row per data set and field."""
    rows = []
    for ds in data.values():
        for field in ds["field"].values.tolist():
            case = ds.sel(field=field)
            row = {"data": ds.attrs["data"].replace("_", " "), "field": field, "seeds": case.sizes["replicate"]}
            for metric, title in _TITLES.items():
                for who in ("generator", "particles", "data", "untrained"):
                    row[f"{title} {who}"] = mean_interval(case[f"{metric}_{who}"])
            row["particle steps"] = round(float(case["particle_steps"].mean()))
            row["evaluations per sample"] = float(case["evaluations"].max())
            row["regression error / step"] = round(float(case["regression_error"].mean()), 2)
            rows.append(row)
    return pd.DataFrame(rows)
