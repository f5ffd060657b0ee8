"""One-step generators in the plane under every field, and how near they come to held-out data beside exactly moved particles."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from driftrates import figures

_WHO = {
    "generator": ("one-step generator", figures.PALETTE[3], "o"),
    "particles": ("particles, exact regression", figures.PALETTE[0], "s"),
    "untrained": ("untrained network", "0.55", "x"),
    "data": ("independent data", "black", "|"),
}


def field_title(name: str) -> str:
    """A field's name as it is written in a text."""
    return name.replace("sinkhorn", "Sinkhorn")


@figures.styled
def plot(data: Mapping[str, xr.Dataset]) -> Figure:
    """One row of samples over held-out data per planar Dataset of `generator.train_generators`; below W2 of all Datasets by field."""
    planar = [ds for ds in data.values() if ds.sizes["component"] == 2]
    fields = next(iter(data.values()))["field"].values.tolist()
    figure = Figure(figsize=(figures.DOUBLE, 1.38 * len(planar) + 2.4), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=[1.38 * len(planar) + 0.1, 2.3])
    rows = above.subplots(len(planar), 1 + len(fields), squeeze=False)
    for row, ds in zip(rows, planar, strict=True):
        reach = 1.15 * float(np.abs(ds["held_out"]).max())
        for ax, name in zip(row, ["held-out data", *fields], strict=True):
            _samples(ax, ds, name, reach)
        row[0].set_ylabel(ds.attrs["data"].replace("_", " "))
    figures.letter(rows[0], ["held-out data", *map(field_title, fields)])
    panels = below.subplots(1, len(data))
    for ax, ds in zip(np.atleast_1d(panels), data.values(), strict=True):
        _distances(ax, ds, fields)
    np.atleast_1d(panels)[0].set_ylabel("$W_2$ to held-out data (length)")
    titles = [ds.attrs["data"].replace("_", " ") for ds in data.values()]
    for letter, ax, title in zip("fghijklm", np.atleast_1d(panels), titles, strict=False):
        ax.set_title(rf"$\mathbf{{{letter}}}$  {title}", loc="left")
    handles, labels = np.atleast_1d(panels)[0].get_legend_handles_labels()
    below.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def _samples(ax: Axes, ds: xr.Dataset, name: str, reach: float) -> None:
    held_out = ds["held_out"].values
    ax.plot(*held_out.T, "o", markersize=1.6, markeredgewidth=0, color="0.25" if name == "held-out data" else "0.8")
    if name != "held-out data":
        ax.plot(*ds["generated"].sel(field=name).values.T, "o", markersize=1.6, markeredgewidth=0, color=_WHO["generator"][1])
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xticks=[], yticks=[])


def _distances(ax: Axes, ds: xr.Dataset, fields: list[str]) -> None:
    rng = np.linspace(-0.09, 0.09, ds.sizes["replicate"]) if ds.sizes["replicate"] > 1 else np.zeros(1)
    for (who, (label, colour, marker)), shift in zip(_WHO.items(), (-0.2, 0.2, 0.0, 0.0), strict=True):
        values = ds[f"w2_{who}"].broadcast_like(ds["w2_generator"]).transpose("field", "replicate").values
        if who == "data":
            ax.axhline(values.mean(), color=colour, linestyle="--", linewidth=0.8, label=label)
            continue
        x = np.arange(len(fields))[:, None] + shift + rng
        ax.plot(x.ravel(), values.ravel(), marker, color=colour, markersize=2.6, markeredgewidth=0.7, label=label)
    ax.set_xticks(range(len(fields)), map(field_title, fields), rotation=35, ha="right", rotation_mode="anchor")
    ax.set_ylim(0, 1.08 * float(max(ds[f"w2_{who}"].max() for who in _WHO)))
    sns.despine(ax=ax)
