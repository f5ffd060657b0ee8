"""Rates: power laws in N with their uncertainty, the bound C4.7 and its optimal bandwidth (section 4.3)."""

from __future__ import annotations

import json
import math

import numpy as np
import xarray as xr

from driftrates import random, simulate
from driftrates.measurements import quadrature, transport
from driftrates.power_laws import fit_power_law, local_exponents
from driftrates.targets import kl_divergence


def predicted_exponent(d: int, beta: float = 0.0, *, root: bool = False) -> float:
    """Exponent of N in C4.7 at h = h*: -(2-beta)/(d+4-beta), half of it for the root rate; 0 for beta >= 2 (section 4.3)."""
    if beta >= 2:
        return 0.0
    return -(2 - beta) / (d + 4 - beta) / (2 if root else 1)


def optimal_bandwidth(n: np.ndarray, d: int, a: float, c_q: float, beta: float = 0.0) -> np.ndarray:
    """h* of (26): the minimiser of A / (N h^(d+2)) + C_Q h^(2 - beta); A, C_Q > 0, 0 <= beta < 2."""
    if not 0 <= beta < 2:
        raise ValueError(f"the bound has an interior minimiser for 0 <= beta < 2 only, not {beta}")
    return ((d + 2) * a / ((2 - beta) * c_q * np.asarray(n, float))) ** (1 / (d + 4 - beta))


CARRIERS = {
    "mean_stein_drift": ("time average of S_N", "time^-1"),
    "mean_squared_speed": ("time average of D_N", "length^2 time^-2"),
    "mean_self_interaction": ("time average of the self-interaction term", "time^-1"),
    "late_stein_drift": ("late-time S_N", "time^-1"),
    "late_squared_speed": ("late-time D_N", "length^2 time^-2"),
    "late_self_interaction": ("late-time self-interaction term", "time^-1"),
    "late_entropy_growth": ("late-time d(H_N/N)/dt", "time^-1"),
    "entropy_minimum": ("minimum over time of H_N / N", "1"),
}
"""What may carry a rate in N: long name and unit. Time averages of S_N and D_N also hold H_N(0)/(N T), which carries none."""


def measure_carriers(ensemble: xr.Dataset, *, late: float = 0.2) -> xr.Dataset:
    """`CARRIERS` per (bandwidth, n_particles, replicate) of a conservative ensemble simulated with ``entropy: true``.

    ``late`` is the share of the horizon, at its end, over which late-time values are averaged (0 < late < 1). The minimum of H_N/N
    is taken where the mean over replicates has it; ``minimum_time`` (bandwidth, n_particles) says when.
    """
    horizon = float(ensemble["time"][-1])
    end = ensemble.sel(time=slice((1 - late) * horizon * (1 - 1e-9), None))
    first = end.isel(time=0)["time"]
    span = horizon - float(first)
    out = {}
    for short, name in (("stein_drift", "integrated_stein_drift"), ("self_interaction", "integrated_self_interaction")):
        out[f"mean_{short}"] = ensemble[name].isel(time=-1) / horizon
        out[f"late_{short}"] = (ensemble[name].isel(time=-1) - ensemble[name].sel(time=first)) / span
    out["mean_squared_speed"] = ensemble["squared_speed"].integrate("time") / horizon
    out["late_squared_speed"] = end["squared_speed"].integrate("time") / span
    out["late_entropy_growth"] = out["late_self_interaction"] - out["late_stein_drift"]
    at = ensemble["entropy_path"].mean("replicate").argmin("time")
    out["entropy_minimum"] = ensemble["entropy_path"].isel(time=at)
    carriers = xr.Dataset({name: out[name].drop_vars("time", errors="ignore") for name in CARRIERS})
    for name, (text, unit) in CARRIERS.items():
        carriers[name].attrs = {"long_name": text, "units": unit}
    carriers["minimum_time"] = ensemble["time"][at].drop_vars("time")
    carriers["minimum_time"].attrs = {"long_name": "time of the minimum of H_N / N", "units": "time"}
    return carriers


PATH_CARRIERS = {
    "late_fisher": ("F_N of the last stored cloud", "length^2 time^-2"),
    "quadrature_gap": ("|S_N - F_N| of the last stored cloud", "time^-1"),
}
"""Carriers that are measured along h = h(N) only."""


_FEW = 2**14
"""Particles up to which L1 and L2 are looked for at 256 particles and as many points x_i + h z, beyond at 64: each costs N pairs."""


def diagonal(values: xr.DataArray) -> np.ndarray:
    """Values along h = h(N), with N first, whether every combination of bandwidth and N is there or only the pairs."""
    if "bandwidth" not in values.dims:
        return values.transpose("n_particles", ...).values
    both = values.transpose("bandwidth", "n_particles", ...).values
    return both[(np.arange(len(both)),) * 2]


PATHS = ("diagonal", "fixed", "optimal")
"""h = h_k at N = N_k; the middle bandwidth at every N; h* of (26) with the measured A and C_Q, interpolated in log h, for the N at
which it lies in the grid."""


def measure_rates(
    ensemble: xr.Dataset, *, replicates: int = 4, points: int = 1024, projections: int = 64, resamples: int = 999
) -> xr.Dataset:
    """Carriers of a rate in N, their power laws along `PATHS`, the terms of the bound C4.7, and the distance to the unsmoothed data.

    ``ensemble``: a conservative flow with ``entropy: true`` whose k-th bandwidth belongs to its k-th N (``bandwidth: {prefactor: ..}``),
    so that the grid holds h = h(N) on its diagonal; or that diagonal alone (``paired: true``), where there is no dimension bandwidth
    in what follows, and no ``distance``. F_N and the constants are measured on the last cloud of the first ``replicates``
    replicates of the diagonal; W2 to data (exact for d = 1, else sliced over ``projections`` directions) against as many points drawn
    from the target before smoothing as the largest N has particles.

    Over (bandwidth, n_particles, replicate): `CARRIERS`, ``distance``, ``late_reciprocal_kde`` R_N. Over (n_particles, path_replicate):
    `PATH_CARRIERS`, ``stein_sup``, ``speed_sup`` (L1, L2 over x_i + h z). Over (bandwidth, n_particles): ``initial_term`` C0/T,
    ``self_term`` A/(N h^(d+2)) with kappa the time average of R_N. Over (carrier, path): slope, intercept, intervals, curvature, the
    exponent ``predicted`` by C4.7 with beta = 0. Over (carrier, neighbours): ``local_slope`` between neighbouring N on the diagonal.
    Over n_particles: ``level_volume``, see `level_volume`.
    """
    experiment, seed = json.loads(ensemble.attrs["experiment"]), int(ensemble.attrs["seed"])
    d, sizes, bandwidths = ensemble.sizes["component"], ensemble["n_particles"].values, ensemble["bandwidth"].values
    grid = "bandwidth" in ensemble.dims
    if len(sizes) != len(bandwidths):
        raise ValueError("rates need one bandwidth per number of particles: bandwidth: {prefactor: ..} in the configuration")
    out = measure_carriers(ensemble)
    kernel, target = simulate.make_kernel(experiment["kernel"]), simulate.make_target(experiment["target"], seed=seed)
    scale = ensemble["bandwidth"] ** (d + 2) * ensemble["n_particles"]
    kappa = (ensemble["reciprocal_kde"].integrate("time") / float(ensemble["time"][-1])).mean("replicate")
    out["self_term"] = -kernel.laplacian_at_zero(d) * kappa / scale
    out["initial_term"] = _initial_term(experiment, ensemble, seed)
    out["late_reciprocal_kde"] = out["late_self_interaction"] * scale / -kernel.laplacian_at_zero(d)
    out["level_volume"] = ("n_particles", level_volume(target, sizes, bandwidths))
    if grid:
        out["distance"] = _distances(experiment, target, ensemble, seed, projections)
    path = _along_path(experiment, ensemble, seed, min(replicates, ensemble.sizes["replicate"]), points)
    out = out.merge(path)
    c_q = float(((path["stein_effective"] + path["speed_effective"]) * kernel.second_moment(d) / 2).mean())
    a = float(-kernel.laplacian_at_zero(d) * diagonal(kappa).mean())
    h_star = optimal_bandwidth(sizes, d, a, c_q)
    out["optimal_bandwidth"] = ("n_particles", h_star)
    fits = _fits(out, h_star, d, resamples, seed)
    out = out.merge(fits)
    labels = {
        "self_term": ("A / (N h^(d+2)) of C4.7 with kappa the time average of R_N", "time^-1"),
        "initial_term": ("C0 / T of C4.7, KL(rho_0 || pi) over the horizon", "time^-1"),
        **({"distance": ("W2 of the last cloud to the unsmoothed target (sliced for d >= 2)", "length")} if grid else {}),
        "late_reciprocal_kde": ("late-time R_N", "length^d"),
        "level_volume": ("volume of the region where the target exceeds 1 / (N h^d)", "length^d"),
        "optimal_bandwidth": ("h* of (26), beta = 0, with the measured A and C_Q", "length"),
        "stein_sup": ("L1 of A2.5 over x_i + h z", "time^-1 length^-2"),
        "speed_sup": ("L2 of A2.5 over x_i + h z", "time^-1 length^-2"),
        "stein_effective": ("2 |S_N - F_N| / (m2 h^2)", "time^-1 length^-2"),
        "speed_effective": ("2 |F_N - D_N| / (m2 h^2)", "time^-1 length^-2"),
        **PATH_CARRIERS,
    }
    for name, (text, unit) in labels.items():
        out[name].attrs = {"long_name": text, "units": unit}
    out.attrs = {
        "experiment": ensemble.attrs["experiment"],
        "seed": seed,
        "dimension": d,
        "self_constant": a,
        "quadrature_constant": c_q,
        "second_moment": kernel.second_moment(d),
    }
    return out


def _initial_term(experiment: dict, ensemble: xr.Dataset, seed: int) -> xr.DataArray:
    start = simulate.start_density(experiment, ensemble.sizes["component"])
    values = []
    for h in ensemble["bandwidth"].values:
        density = getattr(simulate.build_field(experiment, float(h), seed=seed).target, "density", None)
        values.append(math.nan if density is None else kl_divergence(start, density, seed=seed).value)
    return xr.DataArray(np.array(values) / float(ensemble["time"][-1]), dims=ensemble["bandwidth"].dims)


def level_volume(target: simulate.Target, sizes: np.ndarray, bandwidths: np.ndarray) -> np.ndarray:
    """Volume (K,) of {p > 1 / (N h^d)} for a target that is one Gaussian, else NaN: the mean of 1/p over a cloud that fills this region.

    It grows like (log N)^(d/2), and with it the R_N of a cloud that resembles the target: kappa of A2.3 is not uniform in N.
    """
    mixture = target.mixture
    if mixture is None or len(mixture.weights) > 1:
        return np.full(len(sizes), np.nan)
    d, peak = mixture.dimension, math.exp(float(mixture.evaluate(mixture.means[None]).log_density[0, 0]))
    radius = np.sqrt(2 * np.log(np.maximum(peak * sizes * bandwidths**d, 1.0)))
    return (radius * math.sqrt(math.pi)) ** d / math.gamma(d / 2 + 1) / (peak * (2 * math.pi) ** (d / 2))


def _distances(experiment: dict, target: simulate.Target, ensemble: xr.Dataset, seed: int, projections: int) -> xr.DataArray:
    sizes, d = ensemble["n_particles"].values, ensemble.sizes["component"]
    if target.points is not None:
        data = target.points
    else:
        data = target.mixture.sample(random.generator(seed, experiment["name"], "unsmoothed"), (1, int(4 * sizes.max())))[0]
    coordinates = [ensemble[c] for c in ("bandwidth", "n_particles")]
    values = np.zeros((*(c.size for c in coordinates), ensemble.sizes["replicate"]))
    for b, s, r in np.ndindex(values.shape):
        cloud = ensemble[f"cloud_{sizes[s]}"].isel(bandwidth=b, replicate=r, snapshot=-1).values.astype(float)
        values[b, s, r] = transport.w2_to_data(cloud, data, projections=None if d == 1 else projections, seed=seed)
    return xr.DataArray(values, dims=("bandwidth", "n_particles", "replicate"))


def _along_path(experiment: dict, ensemble: xr.Dataset, seed: int, replicates: int, points: int) -> xr.Dataset:
    names = (*PATH_CARRIERS, "stein_sup", "speed_sup", "stein_effective", "speed_effective")
    found = {name: np.zeros((ensemble.sizes["n_particles"], replicates)) for name in names}
    for k, (n, h) in enumerate(zip(ensemble["n_particles"].values, ensemble["bandwidth"].values, strict=True)):
        field = simulate.build_field(experiment, float(h), seed=seed)
        for r in range(replicates):
            place = {"bandwidth": k, "replicate": r, "snapshot": -1}
            cloud = ensemble[f"cloud_{n}"].isel(place, missing_dims="ignore").values.astype(float)
            probes = 256 if n <= _FEW else 64
            c = quadrature.constants(field, cloud, particles=probes, samples=probes, seed=seed, points=points, rtol=1e-5, rate=False)
            window = list(quadrature.REGIONS).index("neighbourhood")
            found["late_fisher"][k, r], found["quadrature_gap"][k, r] = c.fisher.value, c.stein_gap
            found["stein_sup"][k, r], found["speed_sup"][k, r] = c.stein[window], c.speed[window]
            factor = 2 / (field.kernel.second_moment(cloud.shape[1]) * h**2)
            found["stein_effective"][k, r], found["speed_effective"][k, r] = factor * c.stein_gap, factor * c.speed_gap
    return xr.Dataset({name: (("n_particles", "path_replicate"), values) for name, values in found.items()})


def _fits(measured: xr.Dataset, h_star: np.ndarray, d: int, resamples: int, seed: int) -> xr.Dataset:
    sizes, log_h = measured["n_particles"].values, np.log(measured["bandwidth"].values)
    carriers = [*CARRIERS, *PATH_CARRIERS]
    columns = {
        "slope": ("exponent of N", ()),
        "intercept": ("logarithm of the prefactor", ()),
        "percentile": ("bootstrap percentile interval of the exponent", ("end",)),
        "bca": ("bootstrap BCa interval of the exponent", ("end",)),
        "leave_one_out": ("extremes of the exponent with one N left out", ("end",)),
        "curvature": ("coefficient of (log N)^2", ()),
        "curvature_p": ("p-value of no curvature", ()),
    }
    arrays = {name: np.full((len(carriers), len(PATHS), *(2 for _ in extra)), np.nan) for name, (_, extra) in columns.items()}
    for c, carrier in enumerate(carriers):
        for p, path in enumerate(PATHS):
            inside, values = _on_path(measured[carrier], path, log_h, np.log(h_star))
            if inside.sum() < 3 or not all(np.isfinite(v).all() and v.mean() > 0 for v in values):
                continue
            fit = fit_power_law(sizes[inside], values, resamples=resamples, seed=seed)
            for name in columns:
                arrays[name][c, p] = getattr(fit, name)
    columns["local_slope"] = ("exponent between neighbouring N on the diagonal", ("neighbours",))
    columns["local_error"] = ("half of the 95 % interval of that exponent", ("neighbours",))
    local = [local_exponents(sizes, diagonal(measured[carrier])) for carrier in carriers]
    out = xr.Dataset({name: (("carrier", "path", *columns[name][1]), values) for name, values in arrays.items()})
    out["local_slope"], out["local_error"] = ((("carrier", "neighbours"), np.stack(each)) for each in zip(*local, strict=True))
    out["neighbours"] = np.sqrt(sizes[1:] * sizes[:-1])
    out["predicted"] = ("path", [predicted_exponent(d), -1.0, predicted_exponent(d)])
    out = out.assign_coords(carrier=carriers, path=list(PATHS), end=["low", "high"])
    for name, (text, _) in columns.items():
        out[name].attrs = {"long_name": text, "units": "1"}
    out["predicted"].attrs = {"long_name": "exponent of the N-dependent terms of the squared bound C4.7", "units": "1"}
    for name, text in (
        ("neighbours", "geometric mean of two neighbouring N"),
        ("carrier", "carrier of a rate"),
        ("path", "path in the (N, h) plane"),
        ("end", "end of an interval"),
    ):
        out[name].attrs = {"long_name": text, "units": "1"}
    return out


def _on_path(values: xr.DataArray, path: str, log_h: np.ndarray, log_star: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """Which N the path reaches inside the grid, and the replicates at each of them."""
    everywhere, nowhere = np.ones(len(log_h), bool), np.zeros(len(log_h), bool)
    if path == "diagonal":
        return everywhere, list(diagonal(values))
    if "bandwidth" not in values.dims:
        return nowhere, []
    both = values.transpose("bandwidth", "n_particles", ...).values
    if path == "fixed":
        return everywhere, list(both[len(log_h) // 2])
    order = np.argsort(log_h)
    inside = (log_star >= log_h.min()) & (log_star <= log_h.max())
    found = [np.array([np.interp(log_star[k], log_h[order], v) for v in both[order, k].T]) for k in np.flatnonzero(inside)]
    return inside, found
