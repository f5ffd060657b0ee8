"""Tables of the fields that drifting is compared with."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import xarray as xr

from driftrates.baselines.comparison import at_equal_cost
from driftrates.tables.conservative import mean_interval

TITLES = {
    "algorithm2": "Algorithm 2",
    "algorithm2_floored": "Algorithm 2, floored",
    "svgd": "SVGD",
    "mmd": "MMD flow",
    "sinkhorn": "Sinkhorn",
}


def field_comparison(data: Mapping[str, xr.Dataset]) -> pd.DataFrame:
    """Mode coverage and distances of `comparison.compare_fields` after equally many evaluations and at equal cost, means over replicates.

    Intervals: Student, 95 %. The first row of each configuration is the training data against the held-out data.
    """
    (runs,) = data.values()
    at = runs.sel(checkpoint=runs.attrs["evaluations"])
    cheap = at_equal_cost(runs)
    rows = []
    for configuration in runs["configuration"].values.tolist():
        own = runs.sel(configuration=configuration)
        rows.append(
            {
                "configuration": configuration,
                "field": "training data",
                "h": "",
                "seeds": runs.sizes["replicate"],
                "step": "",
                "W2": mean_interval(own["data_w2"]),
                "modes covered": mean_interval(own["data_covered"]),
                "MMD": mean_interval(own["data_mmd"]),
                "pairs per evaluation": "",
                "W2 at equal cost": "",
                "modes covered at equal cost": "",
            }
        )
        for field in runs["field"].values.tolist():
            for h in runs["bandwidth"].values.tolist():
                chosen = {"configuration": configuration, "field": field, "bandwidth": h}
                cell, equal = at.sel(chosen), cheap.sel(chosen)
                rows.append(
                    {
                        "configuration": configuration,
                        "field": TITLES.get(field, field),
                        "h": f"{h:g}",
                        "seeds": runs.sizes["replicate"],
                        "step": f"{float(cell['step_factor']):g}",
                        "W2": mean_interval(cell["w2"]),
                        "modes covered": mean_interval(cell["covered"]),
                        "MMD": mean_interval(cell["mmd"]),
                        "pairs per evaluation": f"{float(cell['pairs'].mean()) / runs.attrs['evaluations']:.3g}",
                        "W2 at equal cost": mean_interval(equal["w2"]),
                        "modes covered at equal cost": mean_interval(equal["covered"]),
                    }
                )
    return pd.DataFrame(rows)
