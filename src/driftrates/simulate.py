"""Ensembles of drifting clouds: from one experiment of the configuration to a Dataset of observables and snapshots."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from driftrates import checkpoints, datasets, flow, kernels, random, sums, targets
from driftrates.arrays import namespace, to_host
from driftrates.fields import DriftField, SmoothedDensity, SmoothedPoints, Statistic
from driftrates.laplace.closed_form import LaplaceSmoothedMixture

OBSERVABLES = {
    "squared_speed": ("D_N, mean squared speed of the cloud (6)", "length^2 time^-2"),
    "reciprocal_kde": ("R_N, mean of 1 / p_h over the cloud (7)", "length^d"),
    "log_ratio": ("mean over the cloud of log(pi / p_h)", "1"),
    "radius": ("largest distance of a particle from the origin", "length"),
}
ENTROPY_OBSERVABLES = {
    "stein_drift": ("S_N, mean of T_pi b over the cloud (4); S_loo of T6.3 for a leave-one-out field", "time^-1"),
    "self_interaction": ("self-interaction term per particle; -Laplacian K_h(0) R_N / N for the conservative field (T3.1)", "time^-1"),
    "log_target": ("mean over the cloud of log pi", "1"),
    "integrated_divergence": ("time integral of the mean of div_{x_i} b(x_i; X)", "1"),
    "integrated_stein_drift": ("time integral of S_N", "1"),
    "integrated_self_interaction": ("time integral of the self-interaction term", "1"),
    "entropy_path": ("(log rho_t(X(t)) - sum_i log pi(x_i(t))) / N along the trajectory; its mean is H_N(t) / N", "1"),
}
"""pi is the reference of `reference`."""
FULL_OBSERVABLES = {
    "full_stein_drift": ("mean of T_pi v over the cloud for the field that leaves nothing out", "time^-1"),
    "full_self_interaction": ("self-interaction term per particle of the field that leaves nothing out", "time^-1"),
    "full_reciprocal_kde": ("R_N with the full KDE", "length^d"),
}
"""Recorded beside `ENTROPY_OBSERVABLES` for a leave-one-out field: what the full field would do at the same clouds."""


class Target(NamedTuple):
    """What an experiment drifts toward: ``mixture`` (closed form, not yet smoothed) or ``points`` (M, d), the other is None."""

    mixture: targets.GaussianMixture | None
    points: np.ndarray | None

    @property
    def dimension(self) -> int:
        return self.mixture.dimension if self.points is None else self.points.shape[1]


def make_target(spec: Mapping[str, Any], *, seed: int) -> Target:
    """Target of an experiment, from its ``target`` entry ({"mixture": ...} or {"data": ...})."""
    if "mixture" in spec:
        return Target(targets.mixture_from_config(spec["mixture"]), None)
    return Target(None, datasets.load(spec["data"], seed=seed))


def make_kernel(spec: Mapping[str, Any]) -> kernels.Kernel:
    """Kernel of a configuration entry {"name": ..., parameters}."""
    return kernels.make(**spec)


def build_field(experiment: Mapping[str, Any], h: float, *, seed: int, xp: Any = np) -> DriftField:
    """The velocity field of an experiment at bandwidth h > 0, its data points held as arrays of namespace ``xp``."""
    kernel, target = make_kernel(experiment["kernel"]), make_target(experiment["target"], seed=seed)
    rtol = experiment.get("kernel_rtol")
    if target.points is not None:
        smoothed: Any = SmoothedPoints(xp.asarray(target.points[None], dtype=experiment["dtype"]), kernel, h, rtol=rtol)
    elif kernel.name == "laplace" and target.dimension == 1 and experiment["smooth_target"]:
        smoothed = LaplaceSmoothedMixture(target.mixture, h)
    else:
        gaussian = kernel.name == "gaussian"
        density = target.mixture.smoothed(h) if experiment["smooth_target"] else target.mixture
        smoothed = SmoothedDensity(density, h if gaussian and experiment["smooth_target"] else None)
    return DriftField(experiment["field"], smoothed, kernel, h, experiment["leave_one_out"], rtol)


def reference(field: DriftField, x: Any, target: Statistic) -> tuple[Any, Any]:
    """(log-density (R, n), score (R, n, d)) at points x (R, n, d) of the law to which the entropy of ``field`` is relative.

    pi = K_h * p for the conservative field; pi# = K#_h * p / (companion_mass h^2) of T6.3 for the others, equal to pi for the
    Gaussian kernel. ``target``: the field's own statistic of the target there.
    """
    if field.name == "conservative":
        return target.log_density, target.value
    xp, d, h = namespace(x), x.shape[2], field.h
    if field.kernel.name == "gaussian":
        alpha, log_density = h**2, target.log_density
    else:
        alpha = field.target.scale(x)
        log_density = target.log_density + xp.log(alpha) - math.log(field.kernel.companion_mass(d) * h**2)
        alpha = alpha[..., None]
    return log_density, target.value if field.name == "sharp" else target.value / alpha


def start_density(experiment: Mapping[str, Any], dimension: int) -> targets.GaussianMixture | None:
    """rho_0 in closed form, or None where the start is drawn from data."""
    if "gaussian" not in experiment["start"]:
        return None
    spec = experiment["start"]["gaussian"]
    mean = np.broadcast_to(np.asarray(spec["mean"], float), (dimension,))
    deviation = np.broadcast_to(np.asarray(spec["standard_deviation"], float), (dimension,))
    return targets.GaussianMixture(np.ones(1), mean[None], deviation[None] ** 2)


def initial_clouds(experiment: Mapping[str, Any], n: int, dimension: int, *, seed: int) -> np.ndarray:
    """i.i.d. starts (replicates, n, d) float64; replicate r depends on (seed, start label, n, r) alone."""
    density = start_density(experiment, dimension)
    label = experiment.get("start_label") or experiment["name"]
    clouds = []
    for replicate in range(experiment["replicates"]):
        if density is None:
            spec = {**experiment["start"]["data"], "size": n}
            clouds.append(datasets.load(spec, seed=int(random.generator(seed, label, n, replicate).integers(2**31))))
        else:
            clouds.append(density.sample(random.generator(seed, label, n, replicate), (1, n))[0])
    return np.stack(clouds)


def output_times(spec: Mapping[str, Any]) -> np.ndarray:
    """Output times of an experiment, 0 first: linear, or geometric from ``first`` on."""
    if spec["spacing"] == "log":
        return np.concatenate([[0.0], np.geomspace(spec["first"], spec["stop"], spec["count"] - 1)])
    return np.linspace(0.0, spec["stop"], spec["count"])


def make_method(spec: Mapping[str, Any]) -> Any:
    """Integrator of a configuration entry {"method": euler | dormand_prince | rkc, ...}."""
    if spec["method"] == "euler":
        return flow.Euler(spec["step"])
    cls = {"dormand_prince": flow.DormandPrince, "rkc": flow.RungeKuttaChebyshev}[spec["method"]]
    return cls(rtol=spec["rtol"], atol=spec["atol"])


def simulate_flow(
    experiment: Mapping[str, Any], *, seed: int, device: str = "cpu", checkpoint: checkpoints.CheckpointFile | None = None
) -> xr.Dataset:
    """Integrate every (bandwidth, N) cell of ``experiment`` and record its observables at the output times.

    Returns a Dataset over (bandwidth, n_particles, replicate, time) with `OBSERVABLES` (and `ENTROPY_OBSERVABLES` where the
    experiment asks for ``entropy``, with `FULL_OBSERVABLES` where its field leaves each particle out), the number of field
    evaluations, and the clouds at ``keep_clouds`` of the output times (the last one, if 1) as ``cloud_<N>`` (bandwidth, replicate,
    snapshot, particle_<N>, component). Where the experiment is ``paired``, the k-th bandwidth belongs to the k-th N alone: no variable
    has the dimension bandwidth, which is then a coordinate along n_particles. Attributes: the experiment as JSON, seed, and as
    ``engine`` what each engine of `driftrates.sums` has done.
    With ``checkpoint`` a simulation that was interrupted goes on where that file was last written, to the same bytes.
    Raises `flow.NonFiniteError` where a simulation leaves the finite numbers.
    """
    xp = _namespace(device)
    times = output_times(experiment["times"])
    bandwidths = np.atleast_1d(np.asarray(experiment["bandwidth"], float))
    sizes = np.atleast_1d(experiment["n_particles"])
    d = make_target(experiment["target"], seed=seed).dimension
    names = {**OBSERVABLES, **(ENTROPY_OBSERVABLES if experiment["entropy"] else {})}
    if experiment["entropy"] and experiment["leave_one_out"]:
        names.update(FULL_OBSERVABLES)
    replicates, paired = experiment["replicates"], experiment.get("paired", False)
    shape = (1 if paired else len(bandwidths), len(sizes), replicates)
    data = {name: np.full((*shape, len(times)), np.nan) for name in names}
    evaluations = np.zeros(shape, dtype=np.int64)
    kept = np.unique(np.linspace(len(times) - 1, 0, min(experiment["keep_clouds"], len(times))).round().astype(int))
    stored = experiment.get("cloud_dtype") or experiment["dtype"]
    clouds = {int(n): np.empty((shape[0], replicates, len(kept), n, d), dtype=stored) for n in sizes}
    work, before = np.zeros_like(sums.work()), sums.work()
    unfinished = {**data, "evaluations": evaluations, "work": work, **{f"cloud_{n}": cloud for n, cloud in clouds.items()}}
    resumed = checkpoint.restore(unfinished) if checkpoint else None

    for b, h in enumerate(bandwidths):
        field = build_field(experiment, float(h), seed=seed, xp=xp)
        for s, n in enumerate(sizes):
            if paired and b != s or resumed and (b, s, len(times) - 1) <= resumed.position:
                continue
            here = resumed if resumed and (b, s) == resumed.position[:2] else None
            first = here.position.time + 1 if here else 0
            x0 = initial_clouds(experiment, int(n), d, seed=seed)
            print(f"{experiment['name']}: N = {n}, h = {h:g}, {replicates} replicates to time {times[-1]:g}", flush=True)
            if here:
                print(f"going on at time {times[first - 1]:g} from {checkpoint.path}", flush=True)
            result = _run_cell(experiment, field, xp.asarray(x0, dtype=experiment["dtype"]), times[first:], here)
            for k, (record, observed) in enumerate(result, first):
                row = 0 if paired else b
                for name, values in observed.items():
                    data[name][row, s, :, k] = to_host(values)
                if k in kept:
                    clouds[int(n)][row, :, int(np.searchsorted(kept, k))] = to_host(record.state.x)
                evaluations[row, s] = record.statistics.evaluations
                now = sums.work()
                work += now - before
                before = now
                if checkpoint and checkpoint.due():
                    checkpoint.save(checkpoints.Position(b, s, k), record, unfinished)

    dims = ("bandwidth", "n_particles", "replicate", "time")
    variables = {name: (dims, data[name], {"long_name": names[name][0], "units": names[name][1]}) for name in names}
    variables["evaluations"] = (dims[:3], evaluations, {"long_name": "evaluations of the field", "units": "1"})
    for n, cloud in clouds.items():
        label = f"particles at the stored times, N = {n}"
        variables[f"cloud_{n}"] = (
            ("bandwidth", "replicate", "snapshot", f"particle_{n}", "component"),
            cloud,
            {"long_name": label, "units": "length"},
        )
    coordinates = {
        "bandwidth": ("n_particles" if paired else "bandwidth", bandwidths, {"long_name": "bandwidth h", "units": "length"}),
        "n_particles": ("n_particles", sizes.astype(np.int64), {"long_name": "number of particles N", "units": "1"}),
        "time": ("time", times, {"long_name": "time", "units": "time"}),
        "snapshot": ("snapshot", times[kept], {"long_name": "time of a stored cloud", "units": "time"}),
    }
    attributes = {"experiment": json.dumps(experiment, sort_keys=True), "seed": seed, "engine": sums.describe(work)}
    if paired:
        variables = {name: (axes[1:], values[0], about) for name, (axes, values, about) in variables.items()}
    return xr.Dataset(variables, coordinates, attributes)


def _run_cell(
    experiment: Mapping[str, Any], field: DriftField, x0: Any, times: np.ndarray, resumed: checkpoints.Resumed | None
) -> Iterator[tuple[flow.Record, dict[str, Any]]]:
    """Yield (record, observables) at every one of ``times`` of one (h, N) cell, from the start or from where it was left."""
    entropy, n, d = experiment["entropy"], x0.shape[1], x0.shape[2]
    xp = namespace(x0)
    by_kde = entropy and field.name == "conservative" and not field.leave_one_out
    self_factor = -field.kernel.laplacian_at_zero(d) / (n * field.h ** (d + 2)) if by_kde else 0.0

    def evaluate(x: Any) -> tuple[Any, dict[str, Any]]:
        value = field.at_particles(x, divergence=entropy)
        reciprocal = xp.exp(-value.model.log_density).mean(1)
        observed = {
            "squared_speed": (value.velocity**2).sum(-1).mean(1),
            "reciprocal_kde": reciprocal,
            "log_ratio": (value.target.log_density - value.model.log_density).mean(1),
            "radius": xp.sqrt((x**2).sum(-1)).max(1),
        }
        if entropy:
            log_density, score = reference(field, x, value.target)
            observed["stein_drift"] = (value.divergence + (score * value.velocity).sum(-1)).mean(1)
            observed["self_interaction"] = self_factor * reciprocal if by_kde else value.model.own.mean(1)
            observed["log_target"] = log_density.mean(1)
            observed["divergence"] = value.total_divergence.mean(1)
        return value.velocity, observed

    def evaluate_full(x: Any) -> dict[str, Any]:
        value = replace(field, leave_one_out=False).at_particles(x, divergence=True)
        _, score = reference(field, x, value.target)
        return {
            "full_stein_drift": (value.divergence + (score * value.velocity).sum(-1)).mean(1),
            "full_self_interaction": value.model.own.mean(1),
            "full_reciprocal_kde": xp.exp(-value.model.log_density).mean(1),
        }

    def rhs(t: Any, x: Any, replicates: Any) -> tuple[Any, Any]:
        velocity, observed = evaluate(x)
        if not entropy:
            return velocity, xp.zeros((x.shape[0], 0))
        return velocity, xp.stack([observed["divergence"], observed["stein_drift"], observed["self_interaction"]], axis=1)

    log_start = 0.0
    if entropy:
        log_start = start_density(experiment, d).evaluate(x0).log_density.mean(1)
    method = make_method(experiment["integrator"])
    going_on = {"start": checkpoints.on_device(resumed, x0), "controller": resumed.controller} if resumed else {}
    for record in flow.integrate(rhs, x0, times, method, carried=3 if entropy else 0, progress=True, **going_on):
        state = record.state
        _, observed = evaluate(state.x)
        if entropy:
            for k, name in enumerate(("integrated_divergence", "integrated_stein_drift", "integrated_self_interaction")):
                observed[name] = state.carried[:, k]
            observed["entropy_path"] = log_start - state.carried[:, 0] - observed["log_target"]
            del observed["divergence"]
            if field.leave_one_out:
                observed.update(evaluate_full(state.x))
        yield record, observed


def _namespace(device: str) -> Any:
    if device == "cpu":
        return np
    import cupy

    return cupy
