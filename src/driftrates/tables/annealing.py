"""Tables of annealed bandwidths (B4)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import xarray as xr

from driftrates.spectral.annealing import rate_law

_SHOWN = (4, 8, 16, 32, 64)
_PARAMETERS = {"exponential": "b of a exp(b K^2) / K^2", "power": "b of a K^b", "logarithmic": "b of a + b log K"}


def convergence_times(data: Mapping[str, xr.Dataset]) -> pd.DataFrame:
    """Convergence times by equation and schedule, and the law of growth that the linearised equation predicts, fitted.

    Empty times were not reached, or lie beyond the largest Kmax of the equation. *against other laws*: Akaike's criterion of the best of
    the other two laws less that of this one (above 10: the others have no support); *bend*: slope over the larger Kmax over the slope
    over the smaller. The last rows: the least time of any schedule, and the bound below it.
    """
    ds = data["annealing"]
    shown = [k for k in _SHOWN if k in ds["cutoff"].values]
    rows = []
    for equation in ds["equation"].values.tolist():
        for schedule in ds["schedule"].values.tolist():
            times = ds["convergence_time"].sel(equation=equation, schedule=schedule)
            law, predicted = rate_law(schedule)
            fit = ds.sel(equation=equation, schedule=schedule, law=law)
            low, high = fit["slope_interval"].values
            fitted = np.isfinite(float(fit["slope"]))
            rows.append(
                {
                    "equation": equation,
                    "schedule": schedule,
                    **{f"Kmax = {k}": _text(times.sel(cutoff=k)) for k in shown},
                    "parameter": _PARAMETERS[law],
                    "fitted": f"{float(fit['slope']):.3g} [{low:.3g}, {high:.3g}]" if fitted else "",
                    "predicted": "" if law == "power" else f"{predicted:g}",
                    "points": int(fit["fitted"]),
                    "against other laws": _text(-fit["support"]),
                    "bend": _text(fit["bend"]),
                }
            )
    for name, title in (("optimal_time", "any, least time"), ("lower_bound", "any, lower bound")):
        times = {f"Kmax = {k}": _text(ds[name].sel(cutoff=k)) for k in shown}
        rows.append(dict.fromkeys(rows[0], "") | {"equation": "linear", "schedule": title, **times})
    return pd.DataFrame(rows)


def annealing_winners(data: Mapping[str, xr.Dataset]) -> pd.DataFrame:
    """Best fixed and best annealed bandwidths, chosen on pilots, by case and number of evaluations: W2 with 95 % Student intervals.

    *winner*: the sign of the mean paired difference, undecided where its interval holds 0.
    """
    ds = data["annealing"]
    rows = []
    for case in ds["case"].values.tolist():
        for mark in ds["checkpoint"].values[1:].tolist():
            at = ds.sel(case=case, checkpoint=mark)
            row = {"case": case, "evaluations": mark}
            for contender, short in (("best fixed", "fixed"), ("best annealed", "annealed")):
                chosen = at.isel(candidate=int(at["choice"].sel(contender=contender)))
                row |= {short: str(chosen["candidate"].item()).removeprefix("annealed ").removeprefix("fixed ")}
                row |= {f"W2, {short}": f"{float(chosen['distance']):.3g} ± {float(chosen['distance_error']):.2g}"}
            gap, half = (float(at[name].sel(contender="best annealed")) for name in ("gap", "gap_error"))
            row["annealed - fixed"] = f"{gap:+.2g} ± {half:.2g}"
            row["winner"] = "undecided" if abs(gap) <= half else "annealed" if gap < 0 else "fixed"
            for contender in ("annealed to the width", "swept", "reversed"):
                other = at.sel(contender=contender)
                row[f"{contender} - fixed"] = f"{float(other['gap']):+.2g} ± {float(other['gap_error']):.2g}"
            rows.append({**row, "i.i.d. sample": f"{float(at['sampling_distance']):.3g}"})
    return pd.DataFrame(rows)


def _text(value: xr.DataArray) -> str:
    return f"{float(value):.3g}" if np.isfinite(float(value)) else ""
