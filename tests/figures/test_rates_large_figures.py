"""The figure of the rates at large N, from tiny ensembles on a grid and in pairs."""

import numpy as np
import pytest

from driftrates import figures, simulate
from driftrates.figures import rates_large
from driftrates.measurements import rates
from problems import gaussian_start, normal, problem


@pytest.fixture(scope="module")
def data():
    found = {}
    for name, d, paired, sizes in (("d1", 1, False, [6, 12, 24]), ("d2", 2, False, [6, 12, 24]), ("large_d1", 1, True, [24, 48, 96])):
        given = {"target": normal(d), "start": gaussian_start(1.4), "n_particles": sizes, "replicates": 4, "paired": paired}
        given |= {"bandwidth": {"prefactor": 1.6}, "times": {"stop": 0.8, "count": 6}, "integrator": {"rtol": 1e-3, "atol": 1e-5}}
        flow = simulate.simulate_flow(problem(name=f"rates_{name}", **given, entropy=True), seed=3)
        found[f"rates/rates_{name}"] = rates.measure_rates(flow, projections=2, resamples=29)
    return found


@pytest.fixture(scope="module")
def drawn(data):
    return rates_large.plot(data)


def test_one_row_per_dimension_with_axes_that_name_their_units(drawn):
    assert len(drawn.axes) == 6 and drawn.get_size_inches()[0] == figures.DOUBLE
    labels = [ax.get_ylabel() for ax in drawn.axes]
    assert labels == [
        text
        for d in ("", "$^2$")
        for text in ("carrier of the rate (time$^{-1}$)", "exponent between neighbours", f"late $R_N$ (length{d})")
    ]
    assert [ax.get_xlabel() for ax in drawn.axes] == [""] * 3 + ["$N$"] * 3
    assert all(np.isfinite([*ax.get_xlim(), *ax.get_ylim()]).all() for ax in drawn.axes)


def lines(ax):
    return [line.get_ydata() for line in ax.lines]


def shown(ax, values):
    values = np.asarray(values)
    return any(np.shape(y) == np.shape(values) and np.allclose(y, values) for y in lines(ax))


def test_grid_and_pairs_are_drawn_with_their_fits_and_local_exponents(data, drawn):
    means, local, reciprocal = drawn.axes[:3]
    for name in ("rates/rates_d1", "rates/rates_large_d1"):
        ds = data[name]
        fit = ds.sel(carrier="late_fisher", path="diagonal")
        assert shown(means, rates.diagonal(ds["late_fisher"]).mean(1))
        assert shown(means, np.exp(float(fit["intercept"])) * ds["n_particles"].values ** float(fit["slope"]))
        assert shown(local, fit["local_slope"])
        bars = [box for box in local.containers if np.allclose(box.lines[0].get_ydata(), fit["local_slope"])]
        ends = np.stack([segment[:, 1] for segment in bars[0].lines[2][0].get_segments()])
        np.testing.assert_allclose(np.ptp(ends, axis=1), 2 * fit["local_error"])
        assert shown(reciprocal, rates.diagonal(ds["late_reciprocal_kde"]).mean(1)) and shown(reciprocal, ds["level_volume"])
    assert shown(local, [-0.4, -0.4]) and not shown(drawn.axes[4], [-0.4, -0.4])


def test_the_grid_is_told_from_the_pairs(data, drawn):
    for name, face in (("rates/rates_d1", "white"), ("rates/rates_large_d1", None)):
        mean = rates.diagonal(data[name]["late_fisher"]).mean(1)
        (line,) = [line for line in drawn.axes[0].lines if np.array_equal(line.get_ydata(), mean)]
        assert (line.get_markerfacecolor() == "white") == (face == "white")


def test_saves_are_byte_identical(data, tmp_path):
    one = {name: ds for name, ds in data.items() if name.endswith("large_d1")}
    for stem in ("first", "second"):
        figures.save(rates_large.plot(one), tmp_path / stem)
    for suffix in (".svg", ".pdf", ".png"):
        assert (tmp_path / f"first{suffix}").read_bytes() == (tmp_path / f"second{suffix}").read_bytes()
