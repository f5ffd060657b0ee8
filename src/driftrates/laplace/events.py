"""A6.2: do particles collide, or visit data atoms, where the Laplace field has its kinks; and does the integrator notice?

Every trial step of the Dormand-Prince method is watched; paths between its ends are taken for straight.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from scipy import stats

from driftrates import flow, kernels, random
from driftrates.fields import DriftField, SmoothedPoints

NEAR = 1e-3
"""Distance in units of h that counts as a meeting."""
DIMENSIONS = (1, 2, 3)
FIELDS = {"leave-one-out, Laplace": ("laplace", True), "full, Laplace": ("laplace", False), "full, Gaussian": ("gaussian", False)}
"""Kernel and leave_one_out of the displacement fields that are followed."""
_TOLERANCE = {"rtol": 1e-6, "atol": 1e-8}

_COUNTS = {
    "collisions": f"pairs of particles that come nearer than {NEAR:g} h to each other",
    "order_changes": "pairs of particles that change their order on the line",
    "visits": f"particles and data atoms that come nearer than {NEAR:g} h to each other",
    "crossings": "particles and data atoms that change their order on the line",
}
_STEPS = {
    "at_atom": "trial steps on which a particle passes a data atom",
    "elsewhere": "all other trial steps",
}


class Trial(NamedTuple):
    """One trial step of the replicates ``rows`` (m,): ``length`` (m,), ``accepted`` (m,), ends ``start`` and ``end`` (m, N, d)."""

    rows: np.ndarray
    length: np.ndarray
    accepted: np.ndarray
    start: np.ndarray
    end: np.ndarray


@dataclass(frozen=True)
class Watched(flow.DormandPrince):
    """`flow.DormandPrince` that keeps every `Trial`, of flows that carry no integrals."""

    trials: list[Trial] = field(default_factory=list)

    def attempt(self, evaluate: Any, t: Any, t_new: Any, y: Any, f: Any, h: np.ndarray, rows: Any, stages: Any) -> Any:
        """See `flow.DormandPrince.attempt`."""
        made = super().attempt(evaluate, t, t_new, y, f, h, rows, stages)
        scaled = made.error[0] / (self.atol + self.rtol * np.maximum(np.abs(y[0]), np.abs(made.y[0])))
        self.trials.append(Trial(rows.copy(), h.copy(), (scaled**2).mean((1, 2)) <= 1, y[0].copy(), made.y[0].copy()))
        return made


class Meetings(NamedTuple):
    """Of the straight path between two states, (m,) each: the counts of `measure_events`, and the least distances (length)."""

    collisions: np.ndarray
    order_changes: np.ndarray
    visits: np.ndarray
    crossings: np.ndarray
    nearest_particle: np.ndarray
    nearest_atom: np.ndarray


def meetings(start: np.ndarray, end: np.ndarray, data: np.ndarray, near: float) -> Meetings:
    """What the particles meet on straight paths from start to end (m, N, d) among data (m, M, d); ``near`` (length) is a meeting.

    A meeting that lasts from an earlier path is not counted again. Changes of order are 0 for d >= 2.
    """
    first, second = np.triu_indices(start.shape[1], 1)
    found = []
    for before, after in (
        (start[:, first] - start[:, second], end[:, first] - end[:, second]),
        *[[(x[:, :, None] - data[:, None]).reshape(len(x), -1, x.shape[2]) for x in (start, end)]],
    ):
        moved = after - before
        along = np.clip(-(before * moved).sum(-1) / np.maximum((moved**2).sum(-1), 1e-300), 0.0, 1.0)
        nearest = np.linalg.norm(before + along[..., None] * moved, axis=-1)
        met = (nearest < near) & (np.linalg.norm(before, axis=-1) >= near)
        changed = (before[..., 0] * after[..., 0] < 0) & (start.shape[2] == 1)
        found.append((met.sum(1), changed.sum(1), nearest.min(1)))
    (collisions, order, pair), (visits, crossings, atom) = found
    return Meetings(collisions, order, visits, crossings, pair, atom)


def measure_events(
    *, seed: int, cells: Sequence[Sequence[int]] = ((8, 4), (32, 128)), replicates: int = 16, bandwidth: float = 0.4, horizon: float = 20.0
) -> xr.Dataset:
    """Meetings along displacement flows of N particles toward M data for every (N, M) of ``cells``, d = 1, 2, 3 and field of `FIELDS`.

    Over (flight, flight_replicate): counts, least distances in units of h; ``control_*`` the counts of straight flights of the same
    particles through data atoms, two through each. Over (flight, place): trial steps at a data atom (on the line: that pass one,
    otherwise: that come within h / 20 of one) and elsewhere, how many of them were rejected, the exact 95 % interval of that share, and
    their median length. Raises ``ValueError`` for N < 2 or M < 1.
    """
    if any(n < 2 or m < 1 for n, m in cells):
        raise ValueError(f"flights need N >= 2 particles and M >= 1 data, not {[list(cell) for cell in cells]}")
    table = [(d, name, int(n), int(m)) for n, m in cells for d in DIMENSIONS for name in FIELDS]
    shape = (len(table), replicates)
    counts = {name: np.zeros(shape) for name in (*_COUNTS, *(f"control_{name}" for name in _COUNTS))}
    least = {name: np.full(shape, np.inf) for name in ("nearest_particle", "nearest_atom")}
    trials, rejected, length = (np.full((len(table), 2), np.nan) for _ in range(3))
    interval = np.full((len(table), 2, 2), np.nan)
    for k, (d, name, n, m) in enumerate(table):
        draws = [random.generator(seed, "flights", d, n, m, r) for r in range(replicates)]
        data, x0 = (np.stack([scale * rng.standard_normal((count, d)) for rng in draws]) for count, scale in ((m, 1.0), (n, 1.5)))
        method = Watched(**_TOLERANCE)
        _fly(name, x0, data, bandwidth, horizon, method)
        passed, lost, lengths = [], [], []
        for trial in method.trials:
            met = meetings(trial.start, trial.end, data[trial.rows], NEAR * bandwidth)
            for what in _COUNTS:
                counts[what][k, trial.rows] += trial.accepted * getattr(met, what)
            for what in least:
                least[what][k, trial.rows] = np.minimum(least[what][k, trial.rows], getattr(met, what) / bandwidth)
            passed.append(met.crossings > 0 if d == 1 else met.nearest_atom < bandwidth / 20)
            lost.append(~trial.accepted)
            lengths.append(trial.length)
        passed, lost, lengths = map(np.concatenate, (passed, lost, lengths))
        for p, chosen in enumerate((passed, ~passed)):
            trials[k, p], rejected[k, p] = chosen.sum(), (lost & chosen).sum()
            if chosen.any():
                length[k, p] = np.median(lengths[chosen])
                interval[k, p] = stats.binomtest(int(rejected[k, p]), int(trials[k, p])).proportion_ci(method="exact")
        aim = 2 * data[:, np.arange(n) // 2 % m] - x0
        flown = meetings(x0, aim, data, NEAR * bandwidth)
        for what in _COUNTS:
            counts[f"control_{what}"][k] = getattr(flown, what)
    texts = {**_COUNTS, **{f"control_{name}": f"straight flights through atoms: {text}" for name, text in _COUNTS.items()}}
    texts |= {
        "nearest_particle": "least distance of two particles over h, every trial step",
        "nearest_atom": "least distance of a particle from a data atom over h, every trial step",
    }
    each, places = ("flight", "flight_replicate"), ("flight", "place")
    variables = {name: (each, v, {"long_name": texts[name], "units": "1"}) for name, v in (counts | least).items()}
    variables |= {
        "trials": (places, trials, {"long_name": "trial steps of all replicates", "units": "1"}),
        "rejected": (places, rejected, {"long_name": "rejected ones among them", "units": "1"}),
        "rejected_share": ((*places, "end"), interval, {"long_name": "exact 95 % interval of the share of rejected steps", "units": "1"}),
        "step_length": (places, length, {"long_name": "median length of the trial steps", "units": "time"}),
    }
    columns = {"flight_dimension": "dimension d", "flight_field": "displacement field", "flight_particles": "N", "flight_points": "M"}
    coordinates = {
        name: ("flight", np.array(values, object if name == "flight_field" else np.int64), {"long_name": columns[name], "units": "1"})
        for name, values in zip(columns, zip(*table, strict=True), strict=True)
    }
    text = "; ".join(f"{name}: {what}" for name, what in _STEPS.items())
    coordinates["place"] = ("place", np.array(list(_STEPS), object), {"long_name": text, "units": "1"})
    coordinates["end"] = ("end", np.array(["low", "high"], object), {"long_name": "end of an interval", "units": "1"})
    return xr.Dataset(variables, coordinates)


def _fly(name: str, x0: np.ndarray, data: np.ndarray, h: float, horizon: float, method: Watched) -> None:
    """Run the flow to its end; the trials stay in ``method``. The Gaussian field, whose alpha is h^2 and not (d+1) h^2, gets more time."""
    kernel, left_out = kernels.make(FIELDS[name][0]), FIELDS[name][1]

    def rhs(_: Any, x: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        drift = DriftField("displacement", SmoothedPoints(data[rows], kernel, h), kernel, h, left_out)
        return drift.at_particles(x).velocity, np.zeros((len(x), 0))

    time = horizon if kernel.name == "laplace" else (x0.shape[2] + 1) * horizon
    for _ in flow.integrate(rhs, x0, [time], method):
        pass
