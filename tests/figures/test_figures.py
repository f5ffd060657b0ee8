"""Every figure from small real Datasets: what it draws, how it looks, and the same bytes from two processes."""

import importlib
import itertools
import os
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.text import Text

from driftrates import fieldmaps, figures, simulate, store
from driftrates.datasets import digits_basis
from driftrates.figures import gaussian_identity, kernel_profiles
from driftrates.measurements import assumptions, entropy
from problems import gaussian_start, normal, problem

NAMES = ("figure1", "figure1_maps", "gaussian_identity", "entropy_budget", "digits", "kernel_profiles")
KERNELS = [{"name": "gaussian"}, {"name": "laplace"}, {"name": "inverse_multiquadric", "dof": 5.0}]
GAUSSIAN, LAPLACE = {"name": "gaussian"}, {"name": "laplace"}

REDRAW = """
import sys
from pathlib import Path
import importlib
from driftrates import figures, store
for name in sys.argv[3:]:
    keys = (Path(sys.argv[1]) / f"{name}.txt").read_text().split()
    data = {key: store.read(Path(sys.argv[1]) / f"{key}.nc") for key in keys}
    figures.save(importlib.import_module(f"driftrates.figures.{name}").plot(data), Path(sys.argv[2]) / name)
"""


def flow(name, **changes):
    base = {
        "name": name,
        "target": {"data": {"name": "thin_horizontal", "size": 15}},
        "start": {"data": {"name": "thin_vertical"}},
        "start_label": "start",
        "n_particles": 12,
        "times": {"stop": 0.5, "count": 6},
        "keep_clouds": 6,
    }
    return simulate.simulate_flow(problem(**base | changes), seed=7)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """{figure: {key: Dataset}}, each Dataset written and read once."""
    euler, slow = {"method": "euler", "step": 0.01}, {"stop": 2.0, "count": 6}
    maps = {
        "flow/conservative": flow("conservative"),
        "flow/displacement": flow("displacement", field="displacement", kernel=LAPLACE, times=slow),
        "flow/laplace": flow("laplace", kernel=LAPLACE, integrator=euler),
    }
    spec = {
        "experiments": ["conservative", "displacement", "laplace"],
        "box": 2.0,
        "points": 9,
        "loops": [{"centre": [0.7, 0.7], "radius": r} for r in (0.2, 0.5)],
        "tracked": 3,
        "frozen_time": 0.2,
    }
    identity = {**maps, "flow/gaussian_displacement": flow("gaussian_displacement", field="displacement", times=slow)}
    budget = {}
    for d in (1, 2):
        ensemble = flow(
            f"d{d}",
            target=normal(d),
            start=gaussian_start(1.5),
            n_particles=[6, 12],
            replicates=4,
            entropy=True,
        )
        budget[f"entropy/d{d}"] = entropy.measure_entropy(ensemble, particles=2)
    images = {
        f"flow/digits{c}_{field}": flow(
            f"digits{c}_{field}",
            target={"data": {"name": "digits", "components": c, "size": 30}},
            start=gaussian_start(1.5),
            start_label=f"digits{c}",
            field=field,
            kernel=GAUSSIAN if field == "conservative" else LAPLACE,
            bandwidth=2.0,
            n_particles=24,
            keep_clouds=3,
        )
        for c in (2, 10)
        for field in ("conservative", "displacement", "sharp")
    }
    made = {
        "figure1": maps,
        "figure1_maps": {"fields/map": fieldmaps.map_fields(spec, {key.removeprefix("flow/"): ds for key, ds in maps.items()})},
        "gaussian_identity": identity,
        "entropy_budget": budget,
        "digits": images,
        "kernel_profiles": {"kernels": assumptions.tabulate_kernels(KERNELS, [1, 2])},
    }
    folder = tmp_path_factory.mktemp("data")
    for name, parts in made.items():
        (folder / f"{name}.txt").write_text(" ".join(parts))
        for key, ds in parts.items():
            (folder / key).parent.mkdir(exist_ok=True)
            store.write(ds, folder / f"{key}.nc", title=key, digest="0", params={})
    read = {name: {key: store.read(folder / f"{key}.nc") for key in parts} for name, parts in made.items()}
    return {"folder": folder, **read}


def draw(name, parts):
    return importlib.import_module(f"driftrates.figures.{name}").plot(parts)


@pytest.fixture(scope="module")
def drawn(data):
    made = {name: draw(name, data[name]) for name in NAMES}
    made["figure1_maps with clouds"] = draw("figure1_maps", {**data["figure1_maps"], **data["figure1"]})
    return made


def panels(figure):
    return [ax for ax in figure.axes if ax.get_visible()]


# look -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*NAMES, "figure1_maps with clouds"])
def test_every_axis_has_a_label_or_shares_one(drawn, name):
    """A panel without a label stands in a row (for y) or a column (for x) of which one panel has it."""
    shown = [ax for ax in panels(drawn[name]) if ax.axison]
    assert shown
    for ax, (kind, span) in itertools.product(shown, (("x", "colspan"), ("y", "rowspan"))):
        place = ax.get_subplotspec()
        labels = [
            getattr(other, f"get_{kind}label")()
            for other in shown
            if other.get_subplotspec().get_gridspec() is place.get_gridspec()
            and getattr(other.get_subplotspec(), span) == getattr(place, span)
        ]
        assert any(labels), (ax.get_title(loc="left"), kind)
    assert all(bar.get_ylabel() for ax in shown for bar in ax.child_axes)


@pytest.mark.parametrize("name", [*NAMES, "figure1_maps with clouds"])
def test_letters_run_through_the_panels(drawn, name):
    titles = [ax.get_title(loc="left") for ax in panels(drawn[name])]
    assert [t[len(r"$\mathbf{")] for t in titles] == [chr(ord("a") + k) for k in range(len(titles))]


@pytest.mark.parametrize("name", [*NAMES, "figure1_maps with clouds"])
def test_nothing_overlaps_or_leaves_the_page(drawn, name):
    """Frame, axes with their labels, title and colour bar of a panel against each other, all other panels and the legends."""
    figure = drawn[name]
    with figures._style():
        figure.draw_without_rendering()
        boxes = {}
        for ax in panels(figure):
            (title,) = ax.findobj(lambda artist: isinstance(artist, Text) and artist.get_text().startswith(r"$\mathbf"))
            letter = title.get_text()
            boxes[letter, "frame"], boxes[letter, "title"] = ax.get_window_extent(), title.get_window_extent()
            for kind in "xy" if ax.axison else "":
                boxes[letter, kind] = getattr(ax, f"{kind}axis").get_tightbbox() or ax.get_window_extent()
            boxes |= {(letter, f"colour bar {k}"): bar.get_tightbbox() for k, bar in enumerate(ax.child_axes)}
        for k, part in enumerate((figure, *figure.subfigs)):
            boxes |= {("legend", f"{k} {j}"): legend.get_window_extent() for j, legend in enumerate(part.legends)}
    page = figure.bbox
    for key, box in boxes.items():
        assert box.x0 > -1 and box.y0 > -1 and box.x1 < page.x1 + 1 and box.y1 < page.y1 + 1, key
    for (one, a), (other, b) in itertools.combinations(boxes.items(), 2):
        if one[0] == other[0] and "title" not in (one[1], other[1]) and "colour" not in one[1] + other[1]:
            continue  # tick labels meet at the corner of a frame
        width, height = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        assert width <= 1 or height <= 1, (one, other)


def test_widths_are_those_of_the_columns(drawn):
    assert {figure.get_figwidth() for figure in drawn.values()} <= {figures.SINGLE, figures.DOUBLE}


# bytes ------------------------------------------------------------------------------------------------------------


def test_two_processes_write_the_same_bytes(data, drawn, tmp_path):
    """The other process has another hash seed, folder and user settings."""
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    (there / "matplotlibrc").write_text("font.size: 17\naxes.grid: True\nsvg.fonttype: none\nsavefig.dpi: 50\n")
    environment = {**os.environ, "PYTHONHASHSEED": "5", "MPLBACKEND": "svg"}
    command = [sys.executable, "-W", "error", "-c", "import netCDF4\n" + REDRAW, str(data["folder"]), str(there), *NAMES]
    with subprocess.Popen(command, cwd=there, env=environment) as other:
        for name in NAMES:
            figures.save(drawn[name], here / name)
        assert other.wait(timeout=240) == 0
    for name in NAMES:
        for suffix in (".svg", ".pdf", ".png"):
            assert (here / f"{name}{suffix}").read_bytes() == (there / f"{name}{suffix}").read_bytes(), f"{name}{suffix}"
    assert len(list(here.iterdir())) == 3 * len(NAMES)


def test_files_hold_no_date_and_embed_truetype(drawn, tmp_path):
    figures.save(drawn["gaussian_identity"], tmp_path / "a.b")
    pdf, svg, png = ((tmp_path / f"a.b{suffix}").read_bytes() for suffix in (".pdf", ".svg", ".png"))
    assert b"CreationDate" not in pdf and b"/FontFile2" in pdf and b"/Type3" not in pdf
    assert b"<dc:date>" not in svg and b"<text" not in svg
    assert b"Software" not in png and png.startswith(b"\x89PNG")


def test_a_failure_leaves_the_older_files(drawn, tmp_path, monkeypatch):
    figure = drawn["gaussian_identity"]
    older = {}
    for suffix in (".svg", ".pdf", ".png"):
        path = tmp_path / f"f{suffix}"
        path.write_bytes(suffix.encode())
        older[path] = suffix.encode()
    write = figure.savefig

    def failing(path, **options):
        write(path, **options)
        if path.suffix == ".png":
            raise RuntimeError("the last of three")

    monkeypatch.setattr(figure, "savefig", failing)
    with pytest.raises(RuntimeError, match="last of three"):
        figures.save(figure, tmp_path / "f")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == older
    monkeypatch.undo()
    with pytest.raises(OSError, match="nowhere"):
        figures.save(figure, tmp_path / "nowhere" / "f")


def test_the_callers_settings_stay(data):
    with matplotlib.rc_context({"font.size": 19.0}):
        before = dict(matplotlib.rcParams)
        draw("entropy_budget", data["entropy_budget"])
        assert dict(matplotlib.rcParams) == before


# content ----------------------------------------------------------------------------------------------------------


def lines(ax, colour):
    return [line for line in ax.lines if to_rgb(line.get_color()) == to_rgb(colour)]


def test_figure1_draws_the_stored_clouds(data, drawn):
    for ax, ds in zip(drawn["figure1"].axes, data["figure1"].values(), strict=False):
        clouds = ds["cloud_12"].values[0, 0]
        scattered = [np.asarray(c.get_offsets()) for c in ax.collections]
        np.testing.assert_array_equal(scattered[0], simulate.make_target(figures.experiment(ds)["target"], seed=7).points)
        np.testing.assert_array_equal(scattered[1:], clouds[[0, -1]])
        paths = [line.get_xydata() for line in ax.lines if len(line.get_xydata()) == len(clouds) and line.get_linestyle() == "-"]
        assert len(paths) == 4
        heights = [path[0, 1] for path in paths]
        assert heights == sorted(heights) and heights[0] == clouds[0, :, 1].min() and heights[-1] == clouds[0, :, 1].max()
        for path in paths:
            i = int(np.argmin(np.linalg.norm(clouds[0] - path[0], axis=1)))
            np.testing.assert_array_equal(path, clouds[:, i])


def test_tracked_particles_are_those_of_the_field_map(data):
    maps, ds = data["figure1_maps"]["fields/map"], data["figure1"]["flow/conservative"]
    start = figures.clouds(ds).values[0]
    field = simulate.build_field(figures.experiment(ds), 0.5, seed=7)
    value = field.at(start[figures.tracked_particles(start, 3)][None], start[None])
    np.testing.assert_allclose(maps["ascent"].values[0, :, 0], (value.target.log_density - value.model.log_density)[0], rtol=1e-12)


def test_maps_mark_exactly_where_the_potential_falls(data):
    maps = data["figure1_maps"]["fields/map"].copy(deep=True)
    maps["ascent"].values[:] = np.linspace(0, 1, maps.sizes["step"])
    maps["ascent"].values[1, 2, 10:13] = 5.0, 4.0, 3.0
    figure = draw("figure1_maps", {"fields/map": maps})
    red = [[line.get_xydata() for line in lines(ax, figures.PALETTE[3]) if len(line.get_xydata())] for ax in figure.axes[3:]]
    assert not red[0] and not red[2]
    step = maps["step"].values
    expected = [
        [[step[k], a], [step[k + 1], b]] for k, a, b in ((10, 5.0, 4.0), (11, 4.0, 3.0), (12, 3.0, float(maps["ascent"][1, 2, 13])))
    ]
    np.testing.assert_allclose(red[1], expected)


def test_maps_draw_the_loops_and_both_sides_of_stokes(data, drawn):
    maps = data["figure1_maps"]["fields/map"]
    _, curl, circulation = drawn["figure1_maps"].axes[:3]
    assert "displacement" in curl.get_title(loc="left")
    assert [patch.radius for patch in curl.patches] == [0.2, 0.5]
    np.testing.assert_array_equal(curl.images[0].get_array(), maps["curl"].values[1])
    drawn_sizes = [line.get_ydata() for line in circulation.lines]
    np.testing.assert_array_equal(drawn_sizes[1], np.abs(maps["circulation"].values[1]))
    np.testing.assert_array_equal(drawn_sizes[3], np.abs(maps["flux"].values[1]))
    assert (drawn_sizes[0] >= 1e-17).all()


def test_entropy_budget_marks_the_minimum_and_the_kl(data, drawn):
    axes = drawn["entropy_budget"].axes
    for column, ds in enumerate(data["entropy_budget"].values()):
        above, below = axes[column], axes[2 + column]
        minima = [float(ds["time"][int(np.argmin(h))]) for h in ds["entropy"].values[0]]
        for ax in (above, below):
            assert [line.get_xdata()[0] for line in ax.lines if line.get_linestyle() == ":"] == minima
        assert len([c for c in above.collections if len(c.get_paths()[0].vertices) > 10]) == 2
        assert any(np.array_equal(line.get_xydata(), [[0.0, float(ds["initial_kl"][0])]]) for line in above.lines)
        rates = [line.get_ydata() for line in below.lines if len(line.get_xdata()) == ds.sizes["time"]]
        np.testing.assert_array_equal(rates[0::2], ds["stein_drift"].values[0])
        np.testing.assert_array_equal(rates[1::2], ds["self_interaction"].values[0])


def test_the_identity_holds_in_the_picture_for_the_gaussian_alone(drawn):
    by_label = {line.get_label(): line for line in drawn["gaussian_identity"].axes[-1].lines}
    np.testing.assert_allclose(by_label["Gaussian"].get_xdata(), [0.1, 0.2, 0.3, 0.4, 0.5])
    assert by_label["Gaussian"].get_ydata().max() < 1e-5
    np.testing.assert_allclose(by_label["Laplace"].get_xdata(), [0.1, 0.2, 0.3, 0.4, 0.5])
    assert by_label["Laplace"].get_ydata().min() > 1e-2


def test_the_identity_wants_a_pair(data):
    with pytest.raises(ValueError, match="conservative and a displacement"):
        gaussian_identity.plot({key: data["gaussian_identity"][key] for key in ("flow/conservative", "flow/displacement")})


def test_digits_are_the_images_of_the_particles(data, drawn):
    ds = data["digits"]["flow/digits10_sharp"]
    start, end = drawn["digits"].axes[4], drawn["digits"].axes[7]
    for ax, snapshot in ((start, 0), (end, -1)):
        mosaic = np.asarray(ax.images[0].get_array().filled(np.nan))
        first = digits_basis(10).inverse(ds["cloud_24"].values[0, 0, snapshot, 0])
        last = digits_basis(10).inverse(ds["cloud_24"].values[0, 0, snapshot, -1])
        np.testing.assert_allclose(mosaic[:8, :8], first, atol=1e-12)
        np.testing.assert_allclose(mosaic[-8:, -8:], last, atol=1e-12)
    scattered = drawn["digits"].axes[3].lines[1].get_xydata()
    np.testing.assert_array_equal(scattered, data["digits"]["flow/digits2_sharp"]["cloud_24"].values[0, 0, -1])


def test_kernels_are_drawn_with_their_parameters(drawn):
    assert kernel_profiles._kernel("inverse_multiquadric(dof=5)").dof == 5.0
    profile, fourier = drawn["kernel_profiles"].axes[:2]
    assert [line.get_linestyle() for line in profile.lines] == ["-", "--", "-"]
    s = profile.lines[2].get_xdata()
    np.testing.assert_allclose(profile.lines[2].get_ydata(), (1 + s**2) ** -3.5, rtol=1e-12)
    k = fourier.lines[0].get_xdata()
    np.testing.assert_allclose(fourier.lines[0].get_ydata(), np.exp(-(k**2) / 2), rtol=1e-12)


def test_target_points_need_data(data):
    ds = data["entropy_budget"]["entropy/d1"]
    with pytest.raises(ValueError, match="density"):
        figures.target_points(ds)
