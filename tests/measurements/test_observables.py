import json

import numpy as np
import pytest
import xarray as xr

from driftrates import kernels
from driftrates.fields import DriftField, SmoothedDensity
from driftrates.measurements.fisher_discrepancy import fisher
from driftrates.measurements.observables import measure_observables, particle_means
from driftrates.targets import GaussianMixture
from problems import normal, problem


def make_ensemble(d=1, sizes=(6, 12), bandwidths=(0.4, 0.6), replicates=3, snapshots=4):
    rng = np.random.default_rng(2)
    experiment = problem(target=normal(d), dtype="float32")
    shape = (len(bandwidths), replicates, snapshots)
    clouds = {
        f"cloud_{n}": (
            ("bandwidth", "replicate", "snapshot", f"particle_{n}", "component"),
            rng.standard_normal((*shape, n, d)).astype(np.float32),
        )
        for n in sizes
    }
    labels = {"long_name": "x", "units": "1"}
    coordinates = {
        "bandwidth": ("bandwidth", np.array(bandwidths), labels),
        "n_particles": ("n_particles", np.array(sizes), labels),
        "snapshot": ("snapshot", np.linspace(0.0, 3.0, snapshots), labels),
    }
    return xr.Dataset(clouds, coordinates, {"experiment": json.dumps(experiment), "seed": 11})


@pytest.mark.parametrize("d", [1, 3])
def test_measured_observables_are_those_of_each_stored_cloud(d):
    ensemble = make_ensemble(d)
    found = measure_observables(ensemble, replicates=2, snapshots=2, points=256)
    assert dict(found.sizes) == {"bandwidth": 2, "n_particles": 2, "replicate": 2, "snapshot": 2}
    np.testing.assert_array_equal(found["snapshot"], [0.0, 3.0])
    for name, variable in found.variables.items():
        assert variable.attrs["long_name"] and variable.attrs["units"], name
        assert np.isfinite(variable.values).all(), name
    cloud = ensemble["cloud_12"].values[1, 1, 3].astype(float)
    field = DriftField(
        "conservative", SmoothedDensity(GaussianMixture([1.0], np.zeros((1, d)), [1.36]), None), kernels.make("gaussian"), 0.6
    )
    here = found.isel(bandwidth=1, n_particles=1, replicate=1, snapshot=1)
    reference, means = fisher(field, cloud), particle_means(field, cloud)
    for name, value, error in (
        ("fisher", reference.value, reference.error),
        ("fisher_stein", reference.stein, reference.stein_error),
        ("kl", reference.kl, reference.kl_error),
        ("kl_rate", reference.kl_rate, reference.kl_rate_error),
        ("fisher_outside", reference.outside, reference.split_error),
    ):
        own = float(here[f"{name}_error"])
        assert abs(float(here[name]) - value) <= 5 * (error + own) + 1e-12, name
    for name, value in means._asdict().items():
        assert float(here[name]) == pytest.approx(value, rel=1e-12), name
    assert found.attrs["method"] == reference.method


def test_measured_observables_repeat_and_do_not_depend_on_what_else_is_measured():
    ensemble = make_ensemble(3)
    first = measure_observables(ensemble, replicates=2, snapshots=2, points=64)
    fewer = measure_observables(ensemble.isel(n_particles=[1]), replicates=1, snapshots=2, points=64)
    xr.testing.assert_equal(first.isel(n_particles=[1], replicate=[0]), fewer)
