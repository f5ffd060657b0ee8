"""Small experiments for the tests: what a test gives, completed and checked as the workflow does it."""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import yaml

from driftrates import kernels
from driftrates.fields import DriftField, SmoothedPoints
from driftrates.pipeline.config import resolve
from driftrates.spectral import annealing


def normal(d: int) -> dict[str, Any]:
    """The target N(0, I) in dimension d."""
    return {"mixture": {"means": [[0.0] * d], "standard_deviations": [1.0]}}


def gaussian_start(standard_deviation: float | list[float]) -> dict[str, Any]:
    return {"gaussian": {"standard_deviation": standard_deviation}}


LEAVE_ONE_OUT: dict[str, Any] = {"field": "displacement", "leave_one_out": True, "kernel": {"name": "laplace"}}
"""The leave-one-out displacement field of the Laplace kernel."""

BASE: dict[str, Any] = {
    "target": normal(2),
    "start": gaussian_start(1.5),
    "field": "conservative",
    "kernel": {"name": "gaussian"},
    "bandwidth": 0.5,
    "n_particles": [8, 16],
    "times": {"stop": 1.0},
}
"""Values of the keys that a configuration must give; all others have defaults in the schema."""


def problem(**given: Any) -> dict[str, Any]:
    """The experiment of the given keys as ``resolve`` hands it to the stages; ``name`` is "problem" if left out."""
    name = given.pop("name", "problem")
    return resolve({"experiments": {name: {**BASE, **given}}}, _schema(), check_device=False)["experiments"][name]


MIXTURE: dict[str, Any] = {"weights": [1.0, 2.0], "means": [[-1.0, 0.0], [1.0, 0.5]], "standard_deviations": [0.5, 0.7]}
DATA: dict[str, Any] = {"name": "thin_horizontal", "size": 24}
EULER: dict[str, Any] = {"method": "euler", "step": 0.05}

trial = partial(
    problem,
    name="trial",
    target={"mixture": MIXTURE},
    start=gaussian_start([1.5, 0.8]),
    n_particles=[8, 13],
    replicates=3,
    times={"stop": 0.4, "count": 5},
    integrator={"rtol": 1e-7, "atol": 1e-9},
    keep_clouds=5,
)
"""A short flow of two sizes toward ``MIXTURE``."""

laplace_trial = partial(trial, target={"data": DATA}, **LEAVE_ONE_OUT)
"""The same toward ``DATA`` with the leave-one-out field of the Laplace kernel."""


def speed_budget(flow: xr.Dataset, *, initial_kl: float) -> xr.Dataset:
    """The part of an entropy budget that T6.9 needs, for a flow without ``entropy``."""
    speed = flow["squared_speed"].mean("replicate")
    average = speed.cumulative_integrate("time") / flow["time"].where(flow["time"] > 0)
    return xr.Dataset({"mean_squared_speed": average.fillna(speed), "initial_kl": ("bandwidth", [initial_kl])}, flow.coords)


def make_kernel(eps: float) -> kernels.Kernel:
    return kernels.make("smoothed_laplace", eps=eps)


def make_field(d: int, kernel: kernels.Kernel, m: int = 5, h: float = 0.6) -> DriftField:
    """A leave-one-out displacement field toward m normal points."""
    data = np.random.default_rng(3).standard_normal((1, m, d))
    return DriftField("displacement", SmoothedPoints(data, kernel, h), kernel, h, True)


def make_cloud(n: int, d: int, seed: int = 0) -> np.ndarray:
    return 1.3 * np.random.default_rng(seed).standard_normal((n, d)) + 0.2


def labelled(ds: xr.Dataset) -> bool:
    """Whether every variable and coordinate says what it is and in which units."""
    return all(v.attrs.get("long_name") and v.attrs.get("units") for v in ds.variables.values())


@cache
def _schema() -> dict[str, Any]:
    return yaml.safe_load((Path(__file__).parents[1] / "workflow/schemas/config.schema.yaml").read_text())


def small_annealing():
    """`annealing.measure_annealing` of a few modes and particles, for its figure and its tables."""
    mixtures = {"particles": 16, "pilots": 1, "replicates": 2, "checkpoints": (2, 4), "bandwidths": (0.5, 1.0), "rates": (0.2, 0.4)}
    sizes = {"largest": 8, "mean_field_largest": 6, "particle_largest": 4, "starts": 1, "stop": 60.0, "particle_stop": 40.0}
    return annealing.measure_annealing(seed=2, n_particles=64, replicates=3, resamples=9, mixtures=mixtures, **sizes)


def small_laplace(d, **others):
    """An experiment with the masked Laplace field toward 30 points in d dimensions."""
    return problem(
        name=f"laplace_d{d}",
        start_label="small",
        target={"data": {"name": "gaussian", "dimension": d, "size": 30}},
        start=gaussian_start(1.8),
        **LEAVE_ONE_OUT,
        bandwidth=[0.7],
        replicates=2,
        **others,
    )
