"""The table of what each stage of the workflow cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

COLUMNS = ("stage", "wildcards", "seconds", "peak_memory_mib", "engine", "device")


def tabulate(
    runs: Sequence[tuple[str, ...]],
    benchmarks: Sequence[str | Path],
    provenance: Mapping[tuple[str, ...], Mapping[str, Any]],
) -> pd.DataFrame:
    """One row (`COLUMNS`) per run of a stage and one of their totals.

    runs ((stage,) or (stage, wildcards)); benchmarks (Snakemake's benchmark file of each run, tab-separated: seconds in column ``s``,
    peak resident memory in MiB in ``max_rss``; NaN where the job was too short to be measured); provenance maps a run to the attributes of
    its result, of which ``engine`` and ``device`` are shown (empty where it has none). The total adds seconds and takes the largest memory.
    Raises ``ValueError`` for a file that is no benchmark.
    """
    rows = []
    for run, path in zip(runs, benchmarks, strict=True):
        seconds, memory = measured(path)
        attributes = provenance.get(run, {})
        rows.append([run[0], " ".join(run[1:]), seconds, memory, attributes.get("engine", ""), attributes.get("device", "")])
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    total = ["total", "", frame["seconds"].sum(), frame["peak_memory_mib"].max(), "", ""]
    return pd.concat([frame, pd.DataFrame([total], columns=list(COLUMNS))], ignore_index=True)


def measured(path: str | Path) -> tuple[float, float]:
    """(seconds, peak memory in MiB or NaN) of a benchmark file. Raises ``ValueError`` for another file."""
    try:
        last = pd.read_csv(path, sep="\t").iloc[-1]
        return float(last["s"]), float(pd.to_numeric(last["max_rss"], errors="coerce")) or math.nan
    except (OSError, KeyError, IndexError, ValueError) as error:
        raise ValueError(f"{path} is not a benchmark file of Snakemake ({error}); remove it and run the stage again") from error
