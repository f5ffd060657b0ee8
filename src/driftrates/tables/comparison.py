"""Tables of the rates of the Laplace method (section 6.6) and of the methods side by side (section 6.7)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import xarray as xr

from driftrates.laplace.rates import METHODS, STEP_TOLERANCE, case_label, with_interval
from driftrates.power_laws import verdict
from driftrates.tables.conservative import rounded

_PREDICTED = ("root_residual", "root_energy", "radius_gap", "largest_radius_gap")
_SHIFTED = {"pi": "pi = K_h * p", "pi#": "pi# = K#_h * p"}
_EQUAL = 1e-10


def laplace_rate_exponents(data: Mapping[str, xr.Dataset]) -> pd.DataFrame:
    """Exponents of `laplace.rates.measure_laplace_rates`, carrier by carrier and rule by rule, then of steps and Lipschitz constants in h.

    The verdict compares the exponent in 1/h with -1 (residual velocity, e_rho), that of the step with 2 for scores and 0 for
    displacements (`STEP_TOLERANCE` granted). First and last: medians at the least and the largest N, or at the largest and the least h.
    """
    (ds,) = data.values()
    rows = []
    for c in range(ds.sizes["case"]):
        case = ds.isel(case=c)
        for rule in ds["rule"].values.tolist():
            for carrier in ds["carrier"].values.tolist():
                path = case.sel(rule=rule)
                middle = path[carrier].median("replicate").values
                found = {x: with_interval(path["exponent"].sel(carrier=carrier, against=x)) for x in ("n", "1/h")}
                judged = carrier in _PREDICTED and rule != "fixed"
                rows.append(
                    {
                        "case": case_label(case),
                        "rule for h": rule,
                        "quantity": carrier.replace("_", " "),
                        "first": rounded(middle[0]),
                        "last": rounded(middle[-1]),
                        "exponent of N": _interval(found["n"]),
                        "exponent of 1/h": "" if rule == "fixed" else _interval(found["1/h"]),
                        "predicted": "-1" if judged else "",
                        "verdict": verdict(*found["1/h"][1:], -1.0) if judged else "",
                        "ejected at largest N": rounded(path["ejected"].isel(time=-1, n_particles=-1).mean()),
                    }
                )
    for i in range(ds.sizes["step_dimension"]):
        for method, (field, *_) in METHODS.items():
            steps = ds.isel(step_dimension=i).sel(drift=method)
            for quantity in ds["quantity"].values.tolist():
                value, low, high = with_interval(steps["step_exponent"].sel(quantity=quantity))
                middle = steps[quantity].median("step_replicate").values
                expected = 0.0 if field == "displacement" else 2.0 if quantity == "lipschitz" else -2.0
                rows.append(
                    {
                        "case": f"d={int(steps['step_dimension'])}, N={int(steps['step_particles'])}, {method}",
                        "rule for h": "h from largest to least",
                        "quantity": quantity.replace("_", " "),
                        "first": rounded(middle[-1]),
                        "last": rounded(middle[0]),
                        "exponent of N": "",
                        "exponent of 1/h": _interval((-value, -high, -low)),
                        "predicted": f"{expected:g}",
                        "verdict": "attained"
                        if low - STEP_TOLERANCE <= -expected <= high + STEP_TOLERANCE
                        else "not attained"
                        if np.isfinite(value)
                        else "undecided",
                        "ejected at largest N": "",
                    }
                )
    return pd.DataFrame(rows)


def method_comparison(data: Mapping[str, xr.Dataset]) -> pd.DataFrame:
    """Section 6.7: the methods on the same starts, data and held-out data, each with its best h and step; the last rows are floors."""
    (ds,) = data.values()
    rows = []
    for k, method in enumerate(ds["drift"].values.tolist()):
        own = ds.isel(drift=k)
        at = own.isel(bandwidth=int(own["best"]))
        h, stable = float(at["own_bandwidth"]), float(at["stable_step"])
        gaps = {law: float(own["target_gap"].sel(law=law)) for law in _SHIFTED}
        exponents = {
            (rule, carrier): _interval(with_interval(own["exponent"].sel(rule=rule, carrier=carrier)))
            for rule in ds["rule"].values.tolist()
            for carrier in ds["carrier"].values.tolist()
        }
        rows.append(
            {
                "method": method,
                "target": " and ".join(text for law, text in _SHIFTED.items() if gaps[law] < _EQUAL),
                "self-interaction": rounded(own["self_interaction"].mean()),
                "delta / E#": rounded(own["residual_share"].median()),
                "D / alpha^2": rounded(own["scaled_squared_speed"].median()),
                "speed exponent, occupancy": exponents["occupancy", "smoothed_speed"],
                "speed exponent, N^(-1/6)": exponents["bias", "smoothed_speed"],
                "W2 exponent, occupancy": exponents["occupancy", "distance"],
                "W2 exponent, N^(-1/6)": exponents["bias", "distance"],
                "best h": rounded(h),
                "admissible step": rounded(stable),
                "admissible step / h^2": rounded(stable / h**2),
                "sums per pair": int(own["rows"]),
                "pair terms per step": int(own["pair_terms"]),
                "W2": _mean(at, "w2"),
                "MMD": _mean(at, "mmd"),
            }
        )
    floors = {"fresh points, as many as particles": "fresh", "the data themselves": "data"}
    for label, name in floors.items():
        w2, mmd = (float(ds[f"floor_{metric}_{name}"].mean()) for metric in ("w2", "mmd"))
        rows.append({**dict.fromkeys(rows[0], ""), "method": label, "W2": f"{w2:.3g}", "MMD": f"{mmd:.3g}"})
    return pd.DataFrame(rows)


def _mean(cell: xr.Dataset, name: str) -> str:
    last = cell.isel(checkpoint=-1)
    low, high = last[f"{name}_interval"].values
    return f"{float(last[name].mean()):.3g} [{low:.3g}, {high:.3g}]"


def _interval(exponent: tuple[float, float, float]) -> str:
    value, low, high = exponent
    return f"{value:.2f} [{low:.2f}, {high:.2f}]" if np.isfinite(exponent).all() else "none"
