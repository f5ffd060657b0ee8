"""Figures of the conservative half made from small measurements: labelled axes, what they draw, the same bytes twice."""

from functools import partial

import numpy as np
import pytest
import xarray as xr
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba

from driftrates import figures, simulate
from driftrates.figures import growth as growth_figure
from driftrates.figures import occupancy as occupancy_figure
from driftrates.figures import one_step, propagation, quadrature_constants
from driftrates.measurements import growth, occupancy, quadrature, transport
from problems import normal, problem

MODULES = {
    "quadrature_constants": quadrature_constants,
    "growth": growth_figure,
    "occupancy": occupancy_figure,
    "propagation": propagation,
    "one_step": one_step,
}


experiment = partial(problem, replicates=2, times={"stop": 0.5, "count": 4}, integrator={"rtol": 1e-4, "atol": 1e-6}, keep_clouds=3)


@pytest.fixture(scope="module")
def data():
    data = {"growth": growth.growth_regimes(replicates=2, particles=8, samples=16, relaxation=False, resamples=50)}
    densities = [("uniform_cube", 1), ("uniform_ball", 2), ("truncated_gaussian", 2)]
    data["failures"] = occupancy.measure_failures(densities, sizes=(32, 64), occupancy_ratios=(1.0, 4.0, 12.0), trials=60, seed=1)
    data["mass"] = occupancy.measure_mass([*densities, ("gaussian", 1)], radii=(0.1, 0.3), samples=(8, 32), seed=1)
    made = {f"d{d}": simulate.simulate_flow(experiment(name=f"d{d}", target=normal(d)), seed=1) for d in (1, 2)}
    points = {"target": {"data": {"name": "eight_gaussians", "size": 12}}, "kernel": {"name": "matern72"}, "n_particles": 8}
    for name, ensemble in {**made, "data": simulate.simulate_flow(experiment(name="data", **points), seed=1)}.items():
        data[f"constants/{name}"] = quadrature.measure_constants(ensemble, particles=8, samples=16, rtol=1e-3, points=64)
    uniform = experiment(name="flow", target=normal(1), start={"data": {"name": "uniform", "dimension": 1, "low": -1.0, "high": 1.0}})
    for name, ensemble in made.items():
        data[f"occupancy/{name}"] = occupancy.measure_occupancy(ensemble)
        data[f"one_step/{name}"] = transport.measure_one_step(ensemble, steps=[1e-2, 0.3, 30.0], replicates=1, repeats=8)
    data["propagation/d1"] = occupancy.measure_propagation(uniform, seed=1)
    data["random_time/d1"] = transport.measure_random_time(uniform, seed=1, steps=[0.01, 1.0], draws=4)
    kinds = {
        "quadrature_constants": "constants/",
        "growth": "growth",
        "occupancy": ("failures", "mass", "occupancy/"),
        "propagation": "propagation/",
        "one_step": ("one_step/", "random_time/"),
    }
    return {figure: {key: ds for key, ds in data.items() if key.startswith(kind)} for figure, kind in kinds.items()}


def drawn(module, data):
    """The figure without the passes that settle its layout, which take most of the time."""
    return module.plot.__wrapped__(data)


def panels(figure):
    return [ax for ax in figure.axes if ax.axison]


def points(ax, marker=None, colour=None):
    """Data of all lines of one marker or colour, (n, 2)."""
    chosen = [
        line.get_xydata()
        for line in ax.lines
        if (marker is None or line.get_marker() == marker) and (colour is None or to_rgba(line.get_color()) == to_rgba(colour))
    ]
    return np.concatenate([np.asarray(xy, float).reshape(-1, 2) for xy in chosen]) if chosen else np.empty((0, 2))


@pytest.mark.parametrize("name", MODULES)
def test_figures_are_labelled_fit_the_page_and_are_equal_twice(name, data, tmp_path, monkeypatch):
    # Each format costs a second; the writer itself is tested elsewhere.
    monkeypatch.setattr(figures, "_METADATA", {".svg": {"Date": None}})
    figure, again = (MODULES[name].plot(data[name]) for _ in range(2))
    for k, each in enumerate((figure, again)):
        figures.save(each, tmp_path / str(k))
    assert (tmp_path / "0.svg").read_bytes() == (tmp_path / "1.svg").read_bytes()
    assert figure.get_size_inches()[0] == figures.DOUBLE
    shown = panels(figure)
    letters = [ax.get_title(loc="left")[len(r"$\mathbf{")] for ax in shown]
    assert letters == sorted(letters) and len(set(letters)) == len(letters)
    # A panel without a label of its own shares it with a neighbour in its row or column.
    for ax in shown:
        spec = ax.get_subplotspec()
        row = [
            o for o in shown if o.get_subplotspec().get_gridspec() is spec.get_gridspec() and o.get_subplotspec().rowspan == spec.rowspan
        ]
        column = [
            o for o in shown if o.get_subplotspec().get_gridspec() is spec.get_gridspec() and o.get_subplotspec().colspan == spec.colspan
        ]
        named = any(label.get_text() for label in ax.get_yticklabels())
        assert named or any(o.get_ylabel() for o in row), ax.get_title(loc="left")
        assert any(o.get_xlabel() for o in column), ax.get_title(loc="left")
        assert points(ax).size and np.isfinite(points(ax)).any()
    canvas = FigureCanvasAgg(figure)
    (width, height), renderer = canvas.get_width_height(), canvas.get_renderer()
    for ax in shown:
        box = ax.get_tightbbox(renderer)
        assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1, ax.get_title(loc="left")


def test_a_constant_that_does_not_bound_the_gap_is_marked_and_counted(data):
    given = data["quadrature_constants"]
    broken = {key: ds.copy(deep=True) for key, ds in given.items()}
    for ds in broken.values():
        ds["stein_bound"].loc[{"region": "particles"}] = 1e-3 * ds["stein_gap"]
    sound, wrong = (drawn(quadrature_constants, each) for each in (given, broken))
    clouds = sum(ds["stein_gap"].notnull().sum().item() for ds in given.values())
    found = []
    for figure in (sound, wrong):
        ax = panels(figure)[10]
        marked = points(ax, colour=figures.PALETTE[3])
        text = ax.texts[0].get_text()
        assert (
            text.startswith("above: ") and f" of {2 * clouds}\nbeyond noise: {len(marked)}" in text and (marked[:, 1] > marked[:, 0]).all()
        )
        found.append(len(marked))
    assert found[1] >= clouds and found[1] > found[0]
    # The constant of the proof bounds every gap.
    assert not len(points(panels(sound)[13], colour=figures.PALETTE[3]))


def test_growth_panels_hold_every_construction_and_every_exponent(data):
    ds = data["growth"]["growth"]
    shown = panels(drawn(growth_figure, data["growth"]))
    curves = sum(len([line for line in ax.lines if line.get_marker() == "o"]) for ax in shown[:5])
    assert curves == ds.sizes["construction"]
    beta = points(shown[5], marker="o")[:, 0]
    window = ds["sum_constant_beta"].sel(region="window").values
    np.testing.assert_allclose(np.sort(beta[np.isfinite(beta)]), np.sort(window))
    assert len(shown[5].get_yticklabels()) == ds.sizes["construction"]


def test_zero_failures_are_upper_limits(data):
    given = data["occupancy"]
    ds = given["failures"]
    shown = panels(drawn(occupancy_figure, given))
    for ax, law in zip(shown, ds["density"].values, strict=False):
        cell = ds.sel(density=law)
        none = (cell["failures"] == 0).values
        np.testing.assert_allclose(np.sort(points(ax, marker="v")[:, 1]), np.sort(cell["frequency_high"].values[none]))
        np.testing.assert_allclose(np.sort(points(ax, marker="o")[:, 1]), np.sort(cell["frequency"].values[(cell["failures"] > 0).values]))
    assert any(len(points(ax, marker="v")) for ax in shown[:3]) and any(len(points(ax, marker="o")) for ax in shown[:3])
    below = shown[3:5]
    for ax in below:
        cloud = np.concatenate([points(ax, marker=m) for m in "os"])
        assert (cloud[:, 1] <= cloud[:, 0] * (1 + 1e-9)).all()


def test_separations_lie_between_the_curves_of_the_distortion(data):
    ax = panels(drawn(propagation, data["propagation"]))[0]
    dashed = np.array([line.get_ydata() for line in ax.lines if line.get_linestyle() == "--"])
    solid = np.concatenate([[line.get_ydata()] for line in ax.lines if line.get_linestyle() == "-" and len(line.get_xdata()) > 2])
    assert len(dashed) == 4 and len(solid) == 8
    assert (solid <= dashed.max(0) + 1e-6).all() and (solid >= dashed.min(0) - 1e-6).all()


def test_one_step_ratio_starts_at_one_and_overflow_stays_on_the_page(data):
    given = dict(data["one_step"])
    key = next(iter(given))
    lost = given[key].copy(deep=True)
    lost["repeated_growth"][..., -1] = np.inf
    lost["largest_stable_step"][:] = np.inf
    shown = panels(drawn(one_step, {**given, key: lost}))
    curves = [line.get_ydata() for line in shown[0].lines if len(line.get_xdata()) == 3]
    assert len(curves) == 4 and all(c[0] == pytest.approx(1.0) for c in curves)
    assert np.isfinite(points(shown[7])[:, 1]).all()


def test_a_single_size_and_snapshot_are_drawn(data):
    def reduced(ds: xr.Dataset) -> xr.Dataset:
        return ds.isel({dim: slice(0, 1) for dim in ("n_particles", "snapshot", "replicate") if dim in ds.dims})

    for name in ("quadrature_constants", "occupancy", "propagation", "one_step"):
        figure = drawn(MODULES[name], {key: reduced(ds) for key, ds in data[name].items()})
        figure.draw_without_rendering()
        assert all(len(points(ax)) for ax in panels(figure))


def test_sizes_keep_their_order_in_distinct_colours_darker_than_the_last_of_the_map():
    colours = figures.size_colours([64, 16, 256])
    assert list(colours) == [64, 16, 256]
    brightness = [sum(colour) for colour in colours.values()]
    assert brightness == sorted(set(brightness)) and brightness[-1] < sum(figures.size_colours([1, 2, 3, 4])[4])
