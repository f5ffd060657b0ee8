"""Figures: Datasets in, `matplotlib.figure.Figure` out. One module per figure with ``plot(data)``, one style, one writer.

Nothing is computed here but means, norms and extrema of what the Datasets hold.
"""

from __future__ import annotations

import functools
import json
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from driftrates import datasets
from driftrates.store import replacing

SINGLE, DOUBLE = 3.4, 7.0
"""Widths of one and of two columns, inches."""

PALETTE = sns.color_palette("colorblind")
FIELD_COLOURS = {"conservative": PALETTE[0], "displacement": PALETTE[3], "sharp": PALETTE[2]}
KERNEL_DASHES = {"gaussian": "-", "laplace": "--"}
KERNEL_TITLES = {
    "gaussian": "Gaussian",
    "laplace": "Laplace",
    "smoothed_laplace": "smoothed Laplace",
    **{f"matern{n}2": f"Matérn {n}/2" for n in (3, 5, 7)},
}

STYLE: dict[str, Any] = {
    **sns.axes_style("ticks"),
    **sns.plotting_context("paper"),
    # The one family that comes with matplotlib for text and formulas alike: the same letters on every machine.
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "mathtext.fontset": "dejavusans",
    "font.size": 7.0,
    "axes.labelsize": 7.0,
    "axes.titlesize": 7.2,
    "axes.titlelocation": "left",
    "axes.titlepad": 4.0,
    "axes.labelpad": 2.0,
    "axes.linewidth": 0.6,
    "axes.prop_cycle": matplotlib.cycler(color=PALETTE),
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 1.5,
    "ytick.minor.size": 1.5,
    **{f"{axis}tick.{kind}.width": 0.6 for axis in "xy" for kind in ("major", "minor")},
    **{f"{axis}tick.major.pad": 2.0 for axis in "xy"},
    "legend.fontsize": 6.5,
    "legend.title_fontsize": 6.5,
    "legend.frameon": False,
    "legend.handlelength": 1.8,
    "legend.borderaxespad": 0.3,
    "legend.labelspacing": 0.3,
    "lines.linewidth": 1.1,
    "lines.markersize": 3.5,
    "figure.dpi": 150.0,
    "savefig.dpi": 300.0,
    "figure.constrained_layout.w_pad": 0.03,
    "figure.constrained_layout.h_pad": 0.03,
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "driftrates",
}

_METADATA: dict[str, dict[str, None]] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}, ".png": {"Software": None}}

_AT_REST = 0.05
"""Movement (pixels) of the panels below which a layout is settled."""
_DIGITS = 6
"""Digits that are kept of a position relative to the figure."""

Plot = Callable[[Mapping[str, xr.Dataset]], Figure]


def _style() -> AbstractContextManager[None]:
    """`STYLE` over matplotlib's defaults: the user's own settings have no say."""
    return style.context(["default", STYLE])


def styled(plot: Plot) -> Plot:
    """``plot`` in the style of this package, whatever the caller's own settings are, and with its layout settled."""

    @functools.wraps(plot)
    def wrapped(data: Mapping[str, xr.Dataset]) -> Figure:
        with _style():
            figure = plot(data)
            _settle(figure)
            return figure

    return wrapped


def _settle(figure: Figure) -> None:
    """Repeat the constrained layout until it rests and keep it: one pass is not enough for panels of fixed shape.

    What is kept is rounded, because the solver of the layout adds in an order that differs from process to process.
    """
    before = np.inf
    for _ in range(12):
        figure.get_layout_engine().execute(figure)
        now = np.array([ax.get_window_extent().bounds for ax in figure.axes])
        if np.abs(now - before).max() < _AT_REST:
            break
        before = now
    figure.set_layout_engine("none")
    waiting = list(figure.subfigs)
    while waiting:
        part = waiting.pop()
        part.bbox_relative.p0, part.bbox_relative.p1 = np.round([part.bbox_relative.p0, part.bbox_relative.p1], _DIGITS)
        waiting += part.subfigs
    for ax in figure.axes:
        ax.set_position(np.round(ax.get_position(original=True).bounds, _DIGITS).tolist())


def save(figure: Figure, stem: str | Path) -> None:
    """Write ``figure`` as stem.svg, stem.pdf and stem.png; equal figures give equal bytes on one machine.

    The three take their names together at the end: a failure leaves older files as they were. Raises ``OSError`` naming the
    file that cannot be written.
    """
    stem = Path(stem)
    with _style(), ExitStack() as stack:
        for suffix, metadata in _METADATA.items():
            figure.savefig(stack.enter_context(replacing(stem.with_name(stem.name + suffix))), metadata=metadata)


def experiment(ds: xr.Dataset) -> dict[str, Any]:
    """The experiment that a Dataset of a simulation, or a Dataset made from one, comes from."""
    return json.loads(ds.attrs["experiment"])


def clouds(ds: xr.Dataset) -> xr.DataArray:
    """The stored clouds (snapshot, particle, component) of the first bandwidth, N and replicate of a simulation."""
    n = int(ds["n_particles"][0])
    return ds[f"cloud_{n}"].isel(bandwidth=0, replicate=0).rename({f"particle_{n}": "particle"})


def target_points(ds: xr.Dataset) -> np.ndarray:
    """The data (M, d) that a simulation drifts toward. Raises ``ValueError`` where its target is a density."""
    target = experiment(ds)["target"]
    if "data" not in target:
        raise ValueError(f"experiment {experiment(ds)['name']!r} drifts toward a density: there are no data points to draw")
    return datasets.load(target["data"], seed=int(ds.attrs["seed"]))


def tracked_particles(start: np.ndarray, count: int = 4) -> np.ndarray:
    """Indices of ``count`` particles of a cloud (N, 2), evenly spread by rank of their height: those of `fieldmaps.map_fields`."""
    rank = np.argsort(start[:, 1], kind="stable")
    return rank[np.linspace(0, len(start) - 1, count).astype(int)]


def describe(ds: xr.Dataset) -> str:
    """Field and kernel of a simulation in two words."""
    spec = experiment(ds)
    return f"{spec['field']}, {kernel_title(spec['kernel']['name'])}"


def kernel_title(label: str) -> str:
    """A kernel's label as it is written in a text: Gaussian, Laplace, Matérn 3/2, ..."""
    return KERNEL_TITLES.get(label, label.replace("_", " "))


def line_style(ds: xr.Dataset) -> dict[str, Any]:
    """Colour by field and dashes by kernel, for lines of a simulation."""
    spec = experiment(ds)
    return {"color": FIELD_COLOURS[spec["field"]], "linestyle": KERNEL_DASHES.get(spec["kernel"]["name"], ":")}


def size_colours(sizes: Sequence[int]) -> dict[int, tuple[float, float, float]]:
    """A colour for every N, from dark to light in the order given."""
    # The last colour of the map is too light for a line.
    return dict(zip(sizes, sns.color_palette("viridis", len(sizes) + 1), strict=False))


def letter(axes: Iterable[Axes], titles: Iterable[str]) -> None:
    """Panel letters in bold, each followed by its title."""
    for name, ax, title in zip(string.ascii_lowercase, axes, titles, strict=False):
        ax.set_title(rf"$\mathbf{{{name}}}$  {title}".rstrip(), loc="left")


def plane(ax: Axes, reach: float) -> None:
    """Equal axes over [-reach, reach]^2 with the labels of the plane."""
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xlabel="$x_1$ (length)", ylabel="$x_2$ (length)")


def log_axis(ax: Axes, which: str, decades: int = 5) -> None:
    """A logarithmic axis "x" or "y" with labels at powers of ten only, ``decades`` of them at most or so."""
    axis = ax.xaxis if which == "x" else ax.yaxis
    ax.set(**{f"{which}scale": "log"})
    axis.set_major_locator(LogLocator(numticks=decades))
    axis.set_minor_formatter(NullFormatter())


def log_ticks(ax: Axes, values: np.ndarray) -> None:
    """A logarithmic x axis with ticks at ``values`` (K,) only."""
    ax.set_xscale("log", base=2)
    ax.set_xticks(values, [f"{value:g}" for value in values])
    ax.minorticks_off()
