"""Tables of the spectra of the linearised flow."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import xarray as xr

from driftrates.figures import kernel_title
from driftrates.tables.conservative import rounded

_CLOCKS = {"displacement": "displacement", "conservative": "score", "sharp": "score, sharp-normalised"}
_WAVES = 5


def spectral_rates(data: Mapping[str, xr.Dataset]) -> pd.DataFrame:
    """Decay rates of B3 by kernel, clock and wave number (d = 1): closed form, then by each method relative to it minus 1.

    Modes too slow to be told from rounding have no row; no entry where no particles were run or a fit was not made.
    Raises ``ValueError`` where the particles have another bandwidth.
    """
    ds, cloud = data["spectra"], data["torus_particles"]
    h, waves = float(ds.attrs["bandwidth"]), ds["wave_number"].values
    if float(cloud.attrs["bandwidth"]) != h:
        raise ValueError(f"spectra and torus_particles need one bandwidth, not {h:g} and {float(cloud.attrs['bandwidth']):g}")
    shown = waves[np.unique(np.linspace(0, len(waves) - 1, _WAVES).round().astype(int))]
    rows = []
    for name in ds["kernel"].values.tolist():
        for field in ds["field"].values.tolist():
            for k in shown.tolist():
                case = ds.sel(kernel=name, field=field, wave_number=k)
                closed = float(case["closed_form"].sel(dimension=1))
                if not np.isfinite(case["nonlinear"]):
                    continue
                pair, particles = f"{name} {field}", np.nan
                if pair in cloud["pair"] and k in cloud["wave_number"]:
                    particles = float(cloud["quiet_rate"].sel(pair=pair, wave_number=k))
                measured = (case["quadrature"].sel(dimension=1), case["operator"], case["nonlinear"], particles)
                quadrature, operator, nonlinear, quiet = (_relative(float(v), closed) for v in measured)
                rows.append(
                    {
                        "kernel": kernel_title(name),
                        "clock": _CLOCKS[field],
                        "h k": h * k,
                        "rate": rounded(closed),
                        "time": rounded(1 / closed),
                        "quadrature": quadrature,
                        "Jacobian": operator,
                        "full equation": nonlinear,
                        "particles": quiet,
                    }
                )
    return pd.DataFrame(rows)


def _relative(measured: float, closed: float) -> str:
    return f"{measured / closed - 1:+.1e}" if np.isfinite(measured) else ""
