"""Figures of the entropy minimum, the rates and the observables, from tiny Datasets that the library makes."""

import importlib

import numpy as np
import pytest
from matplotlib.colors import to_rgba

from driftrates import figures, simulate
from driftrates.measurements import entropy, observables, rates
from problems import gaussian_start, normal, problem

RATES = ["rates", "rate_maps", "bandwidth_tradeoff"]
NAMES = ["entropy_minimum", "observables_time", *RATES]


def simulated(name, d, **changes):
    base = {
        "name": name,
        "target": normal(d),
        "start": gaussian_start(1.6),
        "n_particles": [8, 16, 32],
        "replicates": 4,
        "times": {"stop": 1.0, "count": 7},
        "integrator": {"rtol": 1e-3, "atol": 1e-5},
        "entropy": True,
        "keep_clouds": 3,
    }
    return simulate.simulate_flow(problem(**base | changes), seed=5)


def plot(name, data):
    return importlib.import_module(f"driftrates.figures.{name}").plot(data)


@pytest.fixture(scope="module")
def data():
    """Every Dataset by the figure that draws it, in dimensions 1 and 2."""
    times = {"stop": 10.0, "count": 21, "spacing": "log", "first": 0.05}
    long = {f"entropy/long_d{d}": entropy.measure_entropy(simulated(f"long_d{d}", d, times=times), particles=1) for d in (1, 2)}
    flow = {f"flow/entropy_d{d}": simulated(f"entropy_d{d}", d) for d in (1, 2)}
    seen = {
        f"observables/entropy_d{d}": observables.measure_observables(flow[f"flow/entropy_d{d}"], replicates=2, rtol=1e-3) for d in (1, 2)
    }
    rate = {
        f"rates/rates_d{d}": rates.measure_rates(
            simulated(f"rates_d{d}", d, bandwidth={"prefactor": 1.6}, keep_clouds=2), points=64, projections=4, resamples=49
        )
        for d in (1, 2)
    }
    return {"entropy_minimum": long, "observables_time": {**flow, **seen}, **dict.fromkeys(RATES, rate)}


@pytest.fixture(scope="module")
def drawn(data):
    return {name: plot(name, data[name]) for name in NAMES}


def panels(figure):
    return [ax for ax in figure.axes if ax.get_label() != "<colorbar>"]


def labels_of_legends(figure):
    parts = [figure, *getattr(figure, "subfigs", [])]
    return [text.get_text() for part in parts for legend in part.legends for text in legend.get_texts()]


@pytest.mark.parametrize("name", NAMES)
def test_axes_are_labelled_and_show_finite_ranges(drawn, name):
    figure = drawn[name]
    assert figure.get_size_inches()[0] == figures.DOUBLE
    assert figure.get_size_inches()[1] < 9
    for ax in panels(figure):
        assert ax.get_title(loc="left").startswith("$\\mathbf{")
        assert np.isfinite([*ax.get_xlim(), *ax.get_ylim()]).all()
        ticks = {axis.axis_name: axis.get_tick_params() for axis in (ax.xaxis, ax.yaxis)}
        assert ax.get_xlabel() or not ticks["x"]["labelbottom"]
        # The exponents stand beside the names of their carriers.
        assert ax.get_ylabel() or not ticks["y"]["labelleft"] or ax.get_xlabel() == "exponent of $N$"
    assert len(set(labels_of_legends(figure))) == len(labels_of_legends(figure)) > 2


@pytest.mark.parametrize("name", NAMES)
def test_axes_of_quantities_with_a_dimension_name_their_unit(drawn, name):
    texts = [text for ax in drawn[name].axes for text in (ax.get_xlabel(), ax.get_ylabel()) if text]
    dimensionless = ("$N$", "$H_N(t) / N$", "left side / right side", "exponent of $N$", "share of $F_N$ outside hull")
    assert texts
    for text in texts:
        assert text in dimensionless or "(time" in text or "(length)" in text, text


@pytest.mark.parametrize("name", NAMES)
def test_saves_are_byte_identical(data, drawn, tmp_path, name):
    one = {key: ds for key, ds in data[name].items() if key.endswith("d1")}
    for stem in ("first", "second"):
        figure = plot(name, one)
        figures.save(figure, tmp_path / stem)
    for suffix in (".svg", ".pdf", ".png"):
        first = (tmp_path / f"first{suffix}").read_bytes()
        assert len(first) > 5000
        assert first == (tmp_path / f"second{suffix}").read_bytes(), suffix
    shared = 3 if name == "rates" else 0  # the exponents of all dimensions stand in the same panels
    assert len(panels(drawn[name])) - shared == 2 * (len(panels(figure)) - shared), "one row or column for each dimension"


def test_entropy_minimum_draws_the_measured_minimum_slope_and_ratio(data, drawn):
    ds = data["entropy_minimum"]["entropy/long_d1"].isel(bandwidth=0)
    fall, rise, parts, ratio = drawn["entropy_minimum"].axes[:4]
    minima = [line for line in fall.lines if line.get_marker() == "o"]
    np.testing.assert_allclose([line.get_ydata()[0] for line in minima], ds["entropy"].isel(time=slice(1, None)).min("time"))
    slopes = [np.ptp(line.get_ydata()) / np.ptp(line.get_xdata()) for line in rise.lines if line.get_linestyle() == ":"]
    late = ds.sel(time=slice(5.0, None))
    between = (late["entropy"][:, -1] - late["entropy"][:, 0]) / float(late["time"][-1] - late["time"][0])
    np.testing.assert_allclose(slopes, between, rtol=0.05)
    curves = [line.get_ydata() for line in ratio.lines if len(line.get_xdata()) == ds.sizes["time"] - 1]
    left = [line.get_ydata() for line in parts.lines if line.get_linestyle() == "-"]
    own = [line.get_ydata() for line in parts.lines if line.get_linestyle() == "--"]
    (initial,) = [line.get_ydata() for line in parts.lines if line.get_linestyle() == "-."]
    assert len(curves) == len(left) == len(own) == 3
    for share, above, below in zip(curves, left, own, strict=True):
        np.testing.assert_allclose(share, above / (initial + below))


def test_rates_draw_means_fits_and_exponents_of_the_dataset(data, drawn):
    ds = data["rates"]["rates/rates_d1"]
    ax = next(a for a in drawn["rates"].axes if a.get_ylabel().startswith("carrier"))
    sizes = ds["n_particles"].values
    diagonal = np.diagonal(ds["late_self_interaction"].mean("replicate").values)
    drawn_lines = [line.get_ydata() for line in ax.lines if len(line.get_xdata()) == 3]
    assert any(np.allclose(y, diagonal) for y in drawn_lines)
    fit = ds.sel(carrier="late_self_interaction", path="diagonal")
    assert any(np.allclose(y, np.exp(float(fit["intercept"])) * sizes ** float(fit["slope"])) for y in drawn_lines)
    exponents = np.concatenate([line.get_xdata() for a in drawn["rates"].axes if a.get_xlabel() == "exponent of $N$" for line in a.lines])
    for path in ("diagonal", "fixed"):
        assert np.isclose(exponents, float(ds["slope"].sel(carrier="late_self_interaction", path=path))).any()
    assert np.isclose(exponents, -0.4).any()
    assert np.isclose(exponents, -1 / 3).any()


def test_rates_say_where_a_path_has_no_power_law(data):
    gone = {key: ds.assign(slope=ds["slope"].where(ds["path"] != "optimal")) for key, ds in data["rates"].items()}
    texts = [text.get_text() for ax in plot("rates", gone).axes for text in ax.texts]
    assert sum("leaves the grid" in text for text in texts) == 1


def test_rate_maps_show_cells_that_are_not_positive_as_missing(data):
    key = "rates/rates_d1"
    changed = data["rate_maps"][key].copy(deep=True)
    changed["late_stein_drift"][1, 2] = -1.0
    meshes = [ax.collections[-1].get_array() for ax in panels(plot("rate_maps", {key: changed}))]
    means = changed["late_stein_drift"].mean("replicate").sortby("bandwidth").values
    np.testing.assert_array_equal(np.ma.getmaskarray(meshes[1]), means <= 0)
    np.testing.assert_allclose(meshes[0], changed["late_self_interaction"].mean("replicate").sortby("bandwidth"))


def test_the_trade_off_sums_its_terms(data, drawn):
    ds = data["bandwidth_tradeoff"]["rates/rates_d1"].sortby("bandwidth")
    middle = panels(drawn["bandwidth_tradeoff"])[0]
    curves = [line.get_ydata() for line in middle.lines if len(line.get_xdata()) == 3]
    np.testing.assert_allclose(curves[3], curves[0] + curves[1] + curves[2])
    np.testing.assert_allclose(curves[2], ds.attrs["quadrature_constant"] * ds["bandwidth"] ** 2)
    assert any(np.allclose(line.get_xdata(), float(ds["optimal_bandwidth"][1])) for line in middle.lines)


def test_observables_put_every_stored_cloud_beside_the_means(data, drawn):
    flow, seen = data["observables_time"]["flow/entropy_d1"], data["observables_time"]["observables/entropy_d1"]
    above = panels(drawn["observables_time"])[0]
    colours = {to_rgba(line.get_color()) for line in above.lines if len(line.get_xdata()) == flow.sizes["time"]}
    assert len(colours) == flow.sizes["n_particles"]
    markers = np.concatenate([box.lines[0].get_ydata() for box in above.containers])
    np.testing.assert_allclose(np.sort(markers), np.sort(seen["fisher"].values.ravel()))
