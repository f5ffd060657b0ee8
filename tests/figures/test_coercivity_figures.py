"""Figures and table of the coercivity and of the bound T6.9, from small Datasets that the library makes."""

import importlib
import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from driftrates import figures, simulate
from driftrates.laplace import coercivity
from driftrates.tables.laplace import laplace_constants
from problems import small_laplace, speed_budget

NAMES = ["coercivity", "laplace_bound"]


def make_pair(d):
    experiment = small_laplace(d, times={"stop": 4.0, "count": 9}, integrator={"rtol": 1e-3, "atol": 1e-5}, keep_clouds=3)
    flow = simulate.simulate_flow(experiment, seed=8)
    budget = speed_budget(flow, initial_kl=0.1)
    return coercivity.measure_coercivity(flow, samples=128), budget


@pytest.fixture(scope="module")
def data():
    pairs = {f"laplace_d{d}": make_pair(d) for d in (1, 2)}
    return {f"{kind}/{name}": pair[k] for k, kind in enumerate(("coercivity", "entropy")) for name, pair in pairs.items()}


def plot(name, data):
    return importlib.import_module(f"driftrates.figures.{name}").plot(data)


@pytest.fixture(scope="module")
def drawn(data):
    return {name: plot(name, data) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_axes_are_labelled_and_no_label_meets_another(drawn, name):
    figure = drawn[name]
    assert figure.get_size_inches()[0] == figures.DOUBLE
    renderer = FigureCanvasAgg(figure).get_renderer()
    for ax in figure.axes:
        assert ax.get_title(loc="left").startswith("$\\mathbf{")
        assert ax.get_xlabel()
        for axis in (ax.xaxis, ax.yaxis):
            ends = sorted(axis.get_view_interval())
            shown = [
                t for t in axis.get_major_ticks() if ends[0] <= t.get_loc() <= ends[1] and t.label1.get_visible() and t.label1.get_text()
            ]
            boxes = [t.label1.get_window_extent(renderer) for t in shown if t.label1.get_rotation() == 0]
            assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2)), (ax.get_title(loc="left"), axis.axis_name)
    bounds = [ax.get_tightbbox(renderer) for ax in figure.axes]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(bounds, 2))


@pytest.mark.parametrize("name", NAMES)
def test_saves_are_byte_identical(data, tmp_path, name):
    one = {key: ds for key, ds in data.items() if key.endswith("d1")}
    for stem in ("first", "second"):
        figures.save(plot(name, one), tmp_path / stem)
    for suffix in (".svg", ".pdf", ".png"):
        assert (tmp_path / f"first{suffix}").read_bytes() == (tmp_path / f"second{suffix}").read_bytes()


def test_coercivity_draws_the_measured_means_and_every_cloud(data, drawn):
    ds = data["coercivity/laplace_d2"]
    above, below = drawn["coercivity"].axes[1], drawn["coercivity"].axes[3]
    cell = ds.isel(bandwidth=0, n_particles=-1).mean("replicate")
    lines = [line.get_ydata() for line in above.lines[:4]]
    assert lines[0] == pytest.approx(cell["stein"].values)
    assert lines[1] == pytest.approx(((cell["weighted_energy"] - cell["weighted_residual"]) / 2).values)
    sides = coercivity.coercive_sides(ds).sel(region="effective").isel(bandwidth=0, n_particles=-1).mean("replicate")
    assert lines[2] == pytest.approx(sides["bound"].sel(constants="paper").values)
    assert lines[3] == pytest.approx(sides["bound"].sel(constants="sharpened").values)
    clouds = [line for line in below.lines if len(line.get_ydata()) == ds["stein"].size]
    assert len(clouds) == 9
    low, high = below.get_ylim()
    assert all((low < line.get_ydata()).all() and (line.get_ydata() < high).all() for line in clouds)


def test_laplace_bound_draws_the_measured_average_below_the_sum_of_the_terms(data, drawn):
    axes = np.reshape(drawn["laplace_bound"].axes, (3, 2))
    budget, measured = data["entropy/laplace_d1"], data["coercivity/laplace_d1"]
    for k, constants in enumerate(coercivity.CONSTANTS):
        average, *terms, total = (line.get_ydata() for line in axes[k, 0].lines)
        assert average == pytest.approx(budget["mean_squared_speed"].isel(bandwidth=0, time=-1).values)
        assert total == pytest.approx(sum(terms))
        bound = coercivity.velocity_bound(measured, budget["initial_kl"], budget["time"][-1])["total"]
        assert total == pytest.approx(bound.sel(constants=constants, region="effective").values.ravel())
        assert (total > average).all()
    assert len(axes[2, 0].lines[0].get_xdata()) == budget.sizes["time"] - 1


def test_the_table_has_a_row_per_cell_and_region_with_the_extrema(data):
    table = laplace_constants(data)
    assert len(table) == 2 * 2 * 4 and list(table["d"].unique()) == [1, 2]
    row = table[(table["d"] == 2) & (table["N"] == 16) & (table["A over"] == "box")].iloc[0]
    one = data["coercivity/laplace_d2"].isel(bandwidth=0, n_particles=1)
    assert row["delta"] == pytest.approx(float(one["residual"].max()), rel=1e-2)
    assert row["eps_S"] == pytest.approx(float(one["stein_gap"].max()), rel=1e-2)
    assert row["c*"] == pytest.approx(row["a"] / (4 * row["A"] ** 2), rel=2e-2)
    assert row["C"] == pytest.approx(1 / (2 * row["a"]), rel=2e-2)
    assert (table["slack, X2"] < table["slack, L6.6"]).all()
    assert (table["slack, T6.9 with X2"] < table["slack, T6.9 with L6.6"]).all()
