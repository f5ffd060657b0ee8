"""Figure 1, the Gaussian identity of section 1, and the kernel assumption A2.1."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr

from driftrates import simulate
from driftrates.claims.ledger import Assumption, Construction, Data, Evidence, Identity, statement
from driftrates.kernels import Kernel
from driftrates.measurements.assumptions import defects
from driftrates.sums import reference
from driftrates.sums.program import compile_terms

_CHAPTER = "foundations"
_CONSERVATIVE, _DISPLACEMENT, _CONTROL = "figure1_conservative", "figure1_displacement", "figure1_score_laplace"


def _relative_circulation(maps: xr.Dataset, experiment: str) -> np.ndarray:
    """|circulation| around each loop over (typical speed x length of the loop)."""
    speed = float(np.sqrt((maps["velocity"].sel(experiment=experiment) ** 2).sum("component")).mean())
    return np.abs(maps["circulation"].sel(experiment=experiment).values) / (speed * 2 * np.pi * maps["radius"].values)


@statement(
    _CHAPTER, "Fig1", "conservative trajectories ascend log(pi/p_h) and have no circulation; the displacement field has curl", "Figure 1"
)
def figure1(data: Data) -> Iterator[Evidence]:
    maps = data["fields/figure1"]

    def descent(name: str) -> np.ndarray:
        return np.maximum(0.0, -maps[name].sel(experiment=_CONSERVATIVE).diff("step").values)

    yield Identity(
        case="ascent",
        quantity="largest decrease of the potential along frozen-field trajectories; control: field turned by 100 degrees",
        residual=descent("ascent"),
        control=descent("turned_ascent"),
        tolerance=1e-9,
    )
    yield Identity(
        case="gradient",
        quantity="circulation of the conservative field over speed x length; control: displacement field",
        residual=_relative_circulation(maps, _CONSERVATIVE),
        control=_relative_circulation(maps, _DISPLACEMENT),
        tolerance=1e-10,
    )
    yield Construction(
        case="curl",
        quantity="circulation of the displacement field over speed x length; control: score field of the same Laplace kernel",
        effect=_relative_circulation(maps, _DISPLACEMENT),
        control=_relative_circulation(maps, _CONTROL),
        threshold=1e-4,
    )
    flux = maps["flux"].sel(experiment=_DISPLACEMENT).values
    circulation = maps["circulation"].sel(experiment=_DISPLACEMENT).values
    yield Identity(
        case="Stokes",
        quantity="relative difference of circulation and flux of the curl, displacement field; control: curl of the opposite sign",
        residual=(circulation - flux) / np.abs(flux),
        control=(circulation + flux) / np.abs(flux),
        tolerance=1e-2,
    )


@statement(_CHAPTER, "s1-gaussian", "v = h^2 V for the Gaussian kernel, so trajectories agree after rescaling time by h^2", "Section 1")
def gaussian_identity(data: Data) -> Iterator[Evidence]:
    score, displacement = data["flow/identity_score"], data["flow/identity_displacement"]
    experiment, seed = json.loads(score.attrs["experiment"]), int(score.attrs["seed"])
    h, n = float(score["bandwidth"][0]), int(score["n_particles"][0])
    clouds = score[f"cloud_{n}"].isel(bandwidth=0).transpose("snapshot", "replicate", ...)
    yield Identity(
        case="field",
        quantity="largest |v - h^2 V| over largest |v| on stored clouds, V by complex steps of the densities; control: Laplace kernel",
        residual=_field_gap(experiment, h, seed, clouds.values, {"name": "gaussian"}),
        control=_field_gap(experiment, h, seed, clouds.values, {"name": "laplace"}),
        tolerance=1e-12,
    )
    other = displacement[f"cloud_{n}"].isel(bandwidth=0).transpose("snapshot", "replicate", ...)
    clocks = displacement["snapshot"].values * h**2
    if not np.allclose(clocks, score["snapshot"].values, rtol=1e-9, atol=1e-12):
        raise ValueError(
            "experiments identity_score and identity_displacement: the times of the latter must be those of the former over h^2"
        )
    yield Identity(
        case="trajectories",
        quantity="largest distance of the two clouds at times t and t/h^2, over h; control: clouds one stored time apart",
        residual=np.abs(clouds.values - other.values).max(axis=(1, 2, 3)) / h,
        control=np.abs(clouds.values[1:] - other.values[:-1]).max(axis=(1, 2, 3)) / h,
        tolerance=1e-5,
    )


def _field_gap(experiment: dict[str, Any], h: float, seed: int, clouds: np.ndarray, kernel: dict[str, str]) -> np.ndarray:
    """Relative gap between v from its mean shifts and h^2 grad log(p_h / q_h) from complex steps of the two densities."""
    field = simulate.build_field({**experiment, "kernel": kernel, "field": "displacement"}, h, seed=seed)
    data = field.target.points[0]
    gaps = []
    for cloud in clouds[:, 0]:
        v = field.at_particles(cloud[None]).velocity[0]
        gradient = _log_gradient(cloud, data, field.kernel, h) - _log_gradient(cloud, cloud, field.kernel, h)
        gaps.append(np.abs(v - h**2 * gradient).max() / np.abs(v).max())
    return np.array(gaps)


def _log_gradient(x: np.ndarray, y: np.ndarray, kernel: Kernel, h: float) -> np.ndarray:
    """grad log sum_j K((x - y_j) / h) at x (n, d) by complex steps of the density alone; y (m, d)."""
    program, step = compile_terms(kernel, x.shape[1], ("k",)), 1e-30
    columns = []
    for k in range(x.shape[1]):
        moved = x.astype(complex)
        moved[:, k] += 1j * step
        mass = reference.accumulate(program, moved[None] / h, y[None].astype(complex) / h, np.zeros((1, len(x))))[0, 0]
        columns.append(mass.imag / mass.real / step)
    return np.stack(columns, axis=1)


@statement(_CHAPTER, "A2.1", "K is normalised, even, C^2, with finite Laplacian at 0 and finite second moment", "Assumption 2.1")
def kernel_assumption(data: Data) -> Iterator[Evidence]:
    kernels = data["kernels"]
    broken = _flat(defects(kernels, "laplace"))
    for label in kernels["kernel"].values:
        yield Assumption(
            case=str(label),
            quantity="largest defect in units of its tolerance, all dimensions; control: the kink of the Laplace kernel",
            defects=_flat(defects(kernels, str(label))),
            control=broken,
            tolerance=1.0,
        )


def _flat(found: dict[str, np.ndarray]) -> np.ndarray:
    return np.concatenate(list(found.values()))
