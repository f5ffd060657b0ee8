"""Table of the passes of the integrators at equal accuracy."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import xarray as xr

from driftrates.performance.integrators import CONSERVATIVE, EXPONENTS
from driftrates.tables.conservative import rounded

_ACCURACIES = (1e-1, 1e-2, 1e-3, 1e-4)


def integrator_exponents(data: Mapping[str, xr.Dataset]) -> pd.DataFrame:
    """Passes per unit time of `performance.integrators.measure_integrators` at the largest and least h, their exponent in 1/h, and waste.

    Means over replicates; "none" where an integrator does not reach the accuracy in every replicate. Over RKC: passes over those of
    RKC at the least h. Predicted: `EXPONENTS`, 0 for displacements, whose Jacobian does not grow.
    """
    (ds,) = data.values()
    units = {"bandwidth": "h", "length": f"x {ds.attrs['unit_length']:g} length"}
    shown = [a for a in ds["accuracy"].values if np.isclose(a, _ACCURACIES, rtol=1e-6).any()]
    rows = []
    for case in ds["case"].values.tolist():
        for rule in units:
            for accuracy in shown:
                at = ds.sel(case=case, rule=rule, accuracy=accuracy)
                passes = at["passes"].mean("replicate", skipna=False)
                for name in ds["integrator"].values.tolist():
                    own, last = passes.sel(integrator=name).values, at.sel(integrator=name).isel(level=-1)
                    value, low, high = at["exponent"].sel(integrator=name).values
                    rows.append(
                        {
                            "case": case,
                            "error below": f"{accuracy:g} {units[rule]}",
                            "integrator": name.replace("_", "-"),
                            "passes, largest h": _number(own[0]),
                            "passes, least h": _number(own[-1]),
                            "over RKC": _number(own[-1] / float(passes.sel(integrator="rkc")[-1])),
                            "exponent of 1/h": f"{value:.2f} [{low:.2f}, {high:.2f}]" if np.isfinite(value) else "none",
                            "predicted": f"{EXPONENTS[name][rule] if case.startswith(CONSERVATIVE) else 0.0:g}",
                            "stages": _number(last["stages"].mean("replicate", skipna=False)),
                            "share for the radius": _number(last["radius_share"].mean("replicate", skipna=False)),
                            "rejected": _number(last["rejected_share"].mean("replicate", skipna=False)),
                        }
                    )
    return pd.DataFrame(rows)


def _number(value: xr.DataArray | float) -> str:
    return f"{rounded(value):g}" if np.isfinite(float(value)) else "none"
