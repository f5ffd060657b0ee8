"""Tables of the kernels and of the conservative method."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import pandas as pd
import xarray as xr

from driftrates.power_laws import student_interval, verdict


def kernels(data: Mapping[str, xr.Dataset]) -> pd.DataFrame:
    """Constants of every kernel and dimension (section 2) and what A2.1 says of them."""
    table = data["kernels"]
    columns = {
        "second_moment": "m2",
        "value_at_zero": "K(0)",
        "laplacian_at_zero": "Laplacian of K at 0",
        "lower_bound": f"k0 at r0 = {table.attrs['r0']:g}",
        "companion_mass": "companion mass / h^2",
        "companion_second_moment": "m2 of companion",
        "satisfies_a21": "A2.1",
        "reason": "why not",
    }
    frame = table[list(columns)].to_dataframe().reset_index()
    frame["satisfies_a21"] = frame["satisfies_a21"].map({True: "satisfied", False: "not satisfied"})
    return frame.rename(columns={"dimension": "d", **columns})[["kernel", "d", *columns.values()]]


_BOUNDED = {
    **dict.fromkeys(
        ("mean_self_interaction", "late_self_interaction", "late_stein_drift", "late_entropy_growth"), ("diagonal", "fixed", "optimal")
    ),
    **dict.fromkeys(("late_squared_speed", "late_fisher", "quadrature_gap"), ("diagonal", "optimal")),
}
"""Paths along which every term of a carrier's bound decays with N: at fixed h the term Q h^2 does not, nor does C0 / T in an average
from t = 0."""


def rate_exponents(data: Mapping[str, xr.Dataset]) -> pd.DataFrame:
    """Exponents in N of `rates.measure_rates` with their intervals, and a verdict where the predicted exponent is that of a bound.

    The verdict rests on the BCa interval, on the percentile one where that is missing. A carrier whose means are not all positive has
    no exponent and no row.
    """
    rows = []
    for ds in data.values():
        for carrier in ds["carrier"].values.tolist():
            for path in ds["path"].values.tolist():
                fit = ds.sel(carrier=carrier, path=path)
                if not np.isfinite(slope := float(fit["slope"])):
                    continue
                percentile, bca, left_out = (fit[name].values.tolist() for name in ("percentile", "bca", "leave_one_out"))
                low, high = bca if np.isfinite(bca).all() else percentile
                predicted = float(fit["predicted"])
                rows.append(
                    {
                        "d": int(ds.attrs["dimension"]),
                        "N": " to ".join(str(n) for n in ds["n_particles"].values[[0, -1]]),
                        "carrier": carrier.replace("_", " "),
                        "path": path,
                        "exponent": round(slope, 3),
                        "BCa interval": _interval(bca),
                        "percentile interval": _interval(percentile),
                        "one N left out": _interval(left_out),
                        "p of no curvature": float(f"{float(fit['curvature_p']):.2g}"),
                        "predicted": round(predicted, 3),
                        "verdict": verdict(low, high, predicted) if path in _BOUNDED.get(carrier, ()) else "no bound of this exponent",
                    }
                )
    return pd.DataFrame(rows)


def constants(data: Mapping[str, xr.Dataset]) -> pd.DataFrame:
    """L1, L2, Lip(b) of `quadrature.measure_constants` by configuration, N and region, and how far L4.4 holds with each region's constant.

    Constants are means over the replicates at the last snapshot; a gap over its bound is the largest over replicates and snapshots.
    """
    rows = []
    for key, ds in data.items():
        experiment = json.loads(ds.attrs["experiment"])
        for bandwidth in ds["bandwidth"].values.tolist():
            for n in ds["n_particles"].values.tolist():
                for region in ds["region"].values.tolist():
                    case = ds.sel(bandwidth=bandwidth, n_particles=n, region=region)
                    last = case.isel(snapshot=-1).mean("replicate")
                    worst = [float((case[f"{part}_gap"] / case[f"{part}_bound"]).max()) for part in ("stein", "speed")]
                    rows.append(
                        {
                            "configuration": key.rpartition("/")[2].replace("_", " "),
                            "kernel": experiment["kernel"]["name"].replace("_", " "),
                            "h": round(bandwidth, 4),
                            "N": n,
                            "region": region,
                            "L1": rounded(last["stein_constant"]),
                            "L2": rounded(last["speed_constant"]),
                            "Lip(b)": rounded(last["lipschitz"]),
                            "gap / bound (16)": rounded(worst[0]),
                            "gap / bound (17)": rounded(worst[1]),
                        }
                    )
    return pd.DataFrame(rows)


def occupancy_failures(data: Mapping[str, xr.Dataset]) -> pd.DataFrame:
    """Failure frequencies of P5.5 from `occupancy.measure_failures` with exact intervals and both bounds; only cells with r0 h <= r*."""
    ds = data["failures"]
    rows = []
    for place in zip(*np.nonzero(ds["admissible"].values), strict=True):
        cell = ds.isel(dict(zip(ds["admissible"].dims, map(int, place), strict=True)))
        low, high, bound = (float(cell[name]) for name in ("frequency_low", "frequency_high", "bound"))
        law, _, d = str(cell["density"].item()).rpartition("_d")
        rows.append(
            {
                "law": law.replace("_", " "),
                "d": int(d),
                "N": int(cell["n_particles"]),
                "N h^d / log N": rounded(cell["occupancy_ratio"]),
                "h": rounded(cell["bandwidth"]),
                "lambda": rounded(cell["occupation"]),
                "trials": int(cell["trials"]),
                "failures": int(cell["failures"]),
                "frequency": rounded(cell["frequency"]),
                "interval": f"[{low:.2g}, {high:.2g}]",
                "N exp(-lambda/8)": rounded(bound),
                "exact union bound": rounded(cell["union_bound"]),
                "verdict": "vacuous" if bound >= 1 else "violated" if low > bound else "undecided" if high > bound else "holds",
            }
        )
    return pd.DataFrame(rows)


def growth_exponents(data: Mapping[str, xr.Dataset]) -> pd.DataFrame:
    """Exponents beta of L1 + L2 from `growth.growth_regimes`, expected and measured, by construction and region."""
    ds = data["growth"]
    rows = []
    for c in range(ds.sizes["construction"]):
        case = ds.isel(construction=c)
        h = case["bandwidth"].values[np.isfinite(case["bandwidth"].values)]
        row = {
            "regime": str(case["regime"].item()).replace("_", " ").replace("iid", "i.i.d."),
            "a": "" if np.isnan(case["scale"]) else f"{float(case['scale']):g}",
            "kernel": str(case["kernel"].item()).replace("_", " "),
            "d": int(case["dimension"]),
            "h": f"{h.min():.3g} to {h.max():.3g}",
            "expected": round(float(case["expected"]), 2),
        }
        for region in ds["region"].values.tolist():
            beta, low, high = (float(case[f"sum_constant_beta{end}"].sel(region=region)) for end in ("", "_low", "_high"))
            row[region] = f"{beta:.2f} [{low:.2f}, {high:.2f}]"
        rows.append(row)
    return pd.DataFrame(rows)


def _interval(ends: list[float]) -> str:
    return f"[{ends[0]:.3f}, {ends[1]:.3f}]" if np.isfinite(ends).all() else "none"


def rounded(value: xr.DataArray | float) -> float:
    return float(f"{float(value):.3g}")


def mean_interval(values: xr.DataArray) -> str:
    """Mean ± half of Student's 95 % interval of independent values (R,); of a single one the value alone."""
    if values.size < 2:
        return f"{float(values.mean()):.3g}"
    mean, (_, high) = student_interval(values)
    return f"{mean:.3g} ± {high - mean:.2g}"
