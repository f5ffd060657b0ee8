"""Tables of the non-conservative Laplace method."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import xarray as xr

from driftrates.laplace.coercivity import CONSTANTS, coercive_sides, upper_scale, velocity_bound
from driftrates.tables.conservative import rounded

_CELLS = ("replicate", "snapshot")
_SIGNS = {"paper": ("c*", "C*", "L6.6"), "sharpened": ("c", "C", "X2")}


def laplace_constants(data: Mapping[str, xr.Dataset]) -> pd.DataFrame:
    """a, A, delta, eps_S, eps_D over stored clouds, and both sets of constants with the least slack of L6.6 and T6.9, by region of A.

    From Datasets of `laplace.coercivity.measure_coercivity` and, for T6.9 at the last time, the entropy budgets of the same names.
    Slack is the larger over the smaller side: (S# + C delta) / (c E#), and the four terms over the time average of D_lap.
    """
    rows = []
    for key, measured in data.items():
        kind, _, name = key.partition("/")
        if kind != "coercivity":
            continue
        worst = measured[["residual", "stein_gap", "speed_gap"]].max(_CELLS)
        least, largest = measured["lower"].min(_CELLS), {c: upper_scale(measured, c).max(_CELLS) for c in CONSTANTS}
        last = data[f"entropy/{name}"].isel(time=-1)
        bounds = velocity_bound(measured, last["initial_kl"], last["time"])["total"] / last["mean_squared_speed"]
        sides = coercive_sides(measured)
        slack = (sides["rest"] / sides["energy"]).min(_CELLS)
        for b, n, region in np.ndindex(*(measured.sizes[dim] for dim in ("bandwidth", "n_particles", "region"))):
            cell = {"bandwidth": b, "n_particles": n}
            place = {**cell, "region": region}
            row = {
                "d": int(measured.attrs["dimension"]),
                "h": rounded(measured["bandwidth"][b]),
                "N": int(measured["n_particles"][n]),
                "A over": str(measured["region"][region].item()),
                "a": rounded(least.isel(place)),
                "A": rounded(largest["paper"].isel(place)),
                "q# outside [a, A]": rounded(measured["uncovered"].isel(place).max()),
                **{
                    label: rounded(worst[v].isel(cell))
                    for v, label in (("residual", "delta"), ("stein_gap", "eps_S"), ("speed_gap", "eps_D"))
                },
            }
            for constants, (small, large, source) in _SIGNS.items():
                found = CONSTANTS[constants](least.isel(place), largest[constants].isel(place))
                row |= {small: rounded(found[0]), large: rounded(found[1])}
                row[f"slack, {source}"] = rounded(slack.sel(constants=constants).isel(place))
                row[f"slack, T6.9 with {source}"] = rounded(bounds.sel(constants=constants).isel(place))
            rows.append(row)
    return pd.DataFrame(rows)
