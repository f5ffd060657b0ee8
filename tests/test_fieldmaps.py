"""Maps of frozen fields: circulation against a quadrature of the double loop, Stokes' theorem, ascent of the potential."""

import json
import math
from functools import partial

import numpy as np
import pytest
from scipy import integrate

from driftrates import fieldmaps, kernels, simulate
from driftrates.fields import DriftField, SmoothedDensity, SmoothedPoints
from driftrates.targets import GaussianMixture
from problems import gaussian_start, problem

H = 0.6
CENTRE, RADIUS = np.array([0.3, 0.2]), 0.8


def cloud(seed, n):
    return np.random.default_rng(seed).normal(size=(n, 2))


def field(name, kernel, data=None):
    return DriftField(name, SmoothedPoints(cloud(1, 9)[None] if data is None else data[None], kernel, H), kernel, H)


def laplace_mean_shift(point, sources):
    weight = np.exp(-np.linalg.norm(sources - point, axis=1) / H)
    return weight @ (sources - point) / weight.sum()


# circulation ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("radius", [0.3, RADIUS])
def test_circulation_by_quadrature_of_the_double_loop(radius):
    """Counter-clockwise: the integral over t of v(c + r (cos t, sin t)) . r (-sin t, cos t)."""
    data, x = cloud(1, 9), cloud(2, 6)

    def integrand(t):
        point = CENTRE + radius * np.array([math.cos(t), math.sin(t)])
        velocity = laplace_mean_shift(point, data) - laplace_mean_shift(point, x)
        return radius * (velocity[1] * math.cos(t) - velocity[0] * math.sin(t))

    expected = integrate.quad(integrand, 0, 2 * math.pi, limit=400, epsabs=1e-10)[0]
    assert abs(expected) > 1e-3
    assert fieldmaps.circulation(field("displacement", kernels.Laplace()), x, CENTRE, radius) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize(
    ("kernel", "accuracy"), [(kernels.Laplace(), 2e-3), (kernels.Matern52(), 1e-7), (kernels.InverseMultiquadric(), 1e-7)]
)
def test_circulation_is_the_flux_of_the_curl(kernel, accuracy):
    """Stokes; the curl of the Laplace field jumps at the atoms, some of which the discs hold."""
    x = cloud(2, 6)
    atoms = np.concatenate([cloud(1, 9), x])
    assert 2 < (np.linalg.norm(atoms - CENTRE, axis=1) < RADIUS).sum() < len(atoms)
    turning = field("displacement", kernel)
    for radius in (0.3, RADIUS):
        around = fieldmaps.circulation(turning, x, CENTRE, radius)
        assert abs(around) > 1e-5
        assert fieldmaps.flux_of_curl(turning, x, CENTRE, radius) == pytest.approx(around, rel=accuracy, abs=1e-9)


def test_circulation_of_gradient_fields_vanishes():
    for kernel in map(kernels.make, kernels.names()):
        for name in ("conservative", "sharp", *(["displacement"] if kernel.name == "gaussian" else [])):
            assert abs(fieldmaps.circulation(field(name, kernel), cloud(2, 6), CENTRE, RADIUS)) < 1e-6
            assert fieldmaps.flux_of_curl(field(name, kernel), cloud(2, 6), CENTRE, RADIUS) == 0


def test_circulation_turns_with_the_mirror_image():
    """A reflection of data and cloud reverses the sign of the circulation and of the flux."""
    data, x, mirror = cloud(1, 9), cloud(2, 6), np.array([1.0, -1.0])
    for measure in (fieldmaps.circulation, fieldmaps.flux_of_curl):
        here = measure(field("displacement", kernels.Laplace(), data), x, CENTRE, RADIUS)
        there = measure(field("displacement", kernels.Laplace(), data * mirror), x * mirror, CENTRE * mirror, RADIUS)
        assert there == pytest.approx(-here, rel=1e-6) and abs(here) > 1e-3


# ascent -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["data", "mixture"])
def test_the_potential_ascends_along_the_frozen_conservative_field(target):
    """d/dt log(pi / p_h) = |V|^2 along each trajectory, from a start of every speed."""
    conservative = field("conservative", kernels.Gaussian())
    if target == "mixture":
        density = GaussianMixture([1.0, 1.0], [[-1.0, 0.0], [1.0, 0.5]], [0.3, 0.4]).smoothed(H)
        conservative = DriftField("conservative", SmoothedDensity(density, H), kernels.Gaussian(), H)
    x, starts, times = cloud(2, 6), cloud(3, 5), np.linspace(0, 0.5, 201)
    values = fieldmaps.ascent(conservative, x, starts, times)
    assert values.shape == (5, 201)
    assert (np.diff(values, axis=1) > 0).all()
    at = conservative.at(starts[None], x[None])
    np.testing.assert_allclose(values[:, 0], (at.target.log_density - at.model.log_density)[0], rtol=1e-13)
    speed = (at.velocity[0] ** 2).sum(1)
    slope = (-11 * values[:, 0] + 18 * values[:, 1] - 9 * values[:, 2] + 2 * values[:, 3]) / (6 * times[1])
    np.testing.assert_allclose(slope, speed, rtol=1e-3)


def test_the_displacement_field_may_descend():
    """Negative control: with the Laplace kernel some trajectory of the mean-shift field loses potential."""
    values = fieldmaps.ascent(field("displacement", kernels.Laplace()), cloud(2, 6), cloud(3, 40), np.linspace(0, 2, 21))
    assert np.diff(values, axis=1).min() < -1e-3


# the Dataset ------------------------------------------------------------------------------------------------------


experiment = partial(
    problem,
    name="map",
    target={"data": {"name": "thin_horizontal", "size": 16}},
    start={"data": {"name": "thin_vertical"}},
    n_particles=12,
    replicates=2,
    times={"stop": 0.2, "count": 3},
    integrator={"method": "euler", "step": 0.05},
)


@pytest.fixture(scope="module")
def flows():
    variants = {
        "straight": experiment(),
        "turning": experiment(field="displacement", kernel={"name": "laplace"}),
        "single": experiment(field="displacement", kernel={"name": "laplace"}, dtype="float32"),
        "toward_digits": experiment(target={"data": {"name": "digits", "size": 20, "components": 3}}, start=gaussian_start(1.0)),
    }
    return {name: simulate.simulate_flow(spec, seed=5) for name, spec in variants.items()}


SPEC = {
    "experiments": ["straight", "turning", "single"],
    "box": 1.5,
    "points": 13,
    "loops": [{"centre": [0.3, 0.2], "radius": 0.4}, {"centre": [0.0, 0.0], "radius": 1.0}],
    "tracked": 4,
    "frozen_time": 0.5,
}


@pytest.fixture(scope="module")
def maps(flows):
    return fieldmaps.map_fields(SPEC, flows)


def test_maps_have_labels_and_coordinates(maps):
    sizes = {"experiment": 3, "y": 13, "x": 13, "component": 2, "loop": 2, "tracked": 4, "step": 41}
    assert {k: v for k, v in maps.sizes.items() if k in sizes} == sizes
    for name, variable in maps.variables.items():
        assert variable.attrs["long_name"] and variable.attrs["units"], name
    assert list(maps["experiment"].values) == SPEC["experiments"]
    np.testing.assert_array_equal(maps["radius"], [0.4, 1.0])
    np.testing.assert_array_equal(maps["centre"], [[0.3, 0.2], [0.0, 0.0]])
    assert maps["step"].values[0] == 0 and maps["step"].values[-1] == 0.5
    assert all(np.isfinite(maps[name]).all() for name in maps.data_vars)


def test_maps_show_the_field_of_the_first_stored_cloud(maps, flows):
    """Single grid points again from the field, rows along y and columns along x; curl by differences over the map's own field."""
    for e, name in enumerate(("straight", "turning")):
        x = flows[name]["cloud_12"].values[0, 0, 0]
        drift = simulate.build_field(json.loads(flows[name].attrs["experiment"]), 0.5, seed=5)
        for row, column in ((2, 9), (11, 0)):
            point = np.array([[[maps["x"].values[column], maps["y"].values[row]]]])
            value = drift.at(point, x[None])
            np.testing.assert_allclose(maps["velocity"].values[e, row, column], value.velocity[0, 0], rtol=1e-12)
            potential = value.target.log_density.item() - value.model.log_density.item()
            assert maps["potential"].values[e, row, column] == pytest.approx(potential, rel=1e-12, abs=1e-13)
            step = 1e-5 * np.eye(2)
            ends = [[drift.at(point + s * step[k], x[None]).velocity[0, 0] for s in (1, -1)] for k in range(2)]
            curl = ((ends[0][0] - ends[0][1])[1] - (ends[1][0] - ends[1][1])[0]) / 2e-5
            assert maps["curl"].values[e, row, column] == pytest.approx(curl, abs=1e-7)
        for k, loop in enumerate(SPEC["loops"]):
            around = fieldmaps.circulation(drift, x, np.array(loop["centre"]), loop["radius"])
            assert maps["circulation"].values[e, k] == pytest.approx(around, rel=1e-12, abs=1e-13)


def test_only_the_displacement_field_of_the_laplace_kernel_turns(maps):
    straight, turning, single = (maps.isel(experiment=e) for e in range(3))
    assert (straight["curl"] == 0).all() and (abs(straight["circulation"]) < 1e-12).all() and (straight["flux"] == 0).all()
    assert (abs(turning["circulation"]) > 1e-3).any() and abs(turning["curl"]).max() > 1e-2
    np.testing.assert_allclose(turning["circulation"], turning["flux"], atol=1e-4)
    # the clouds of single precision are mapped in double precision
    np.testing.assert_allclose(single["circulation"], turning["circulation"], rtol=1e-4, atol=1e-5)
    assert (np.diff(straight["ascent"], axis=1) > 0).all()


def test_tracked_particles_span_the_cloud(maps, flows):
    """The first value of each track is the potential at a particle: from the lowest to the highest in y, evenly by rank."""
    x = flows["straight"]["cloud_12"].values[0, 0, 0]
    chosen = x[np.argsort(x[:, 1])[[0, 3, 7, 11]]]
    drift = simulate.build_field(json.loads(flows["straight"].attrs["experiment"]), 0.5, seed=5)
    value = drift.at(chosen[None], x[None])
    np.testing.assert_allclose(maps["ascent"].values[0, :, 0], (value.target.log_density - value.model.log_density)[0], rtol=1e-12)


def test_maps_need_the_plane(flows):
    with pytest.raises(ValueError, match="experiment 'toward_digits' lives in d = 3; maps need d = 2"):
        fieldmaps.map_fields({**SPEC, "experiments": ["toward_digits"]}, flows)
