"""Table of the contenders of the kernel sums."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import xarray as xr

from driftrates.performance import passes

_CASE = ["d", "dtype", "threads"]


def peers(data: Mapping[str, xr.Dataset]) -> pd.DataFrame:
    """How many times slower than the direct engine each contender is, with quartiles, one column per (d, type, threads).

    From the committed rows of `passes.measure_performance`, at the largest N up to 10000 that a contender did (given where it is
    smaller). The first call, with the time of a call of 64 points and instructions per pair, is that for d = 2 in float64 on one thread.
    """
    (ds,) = data.values()
    rows = passes.frame(ds)
    rows = rows[(rows["part"] == "throughput") & (rows["n"] <= 10_000)]
    usual = rows[(rows["d"] == 2) & (rows["dtype"] == "float64") & (rows["threads"] == 1)]
    order = rows.drop_duplicates("contender")["contender"].tolist()
    cases = rows[_CASE].drop_duplicates().sort_values(["threads", "dtype", "d"], ascending=[True, False, True])
    table = []
    for name in order:
        own, plain = rows[rows["contender"] == name], usual[usual["contender"] == name].sort_values("n")
        row = {"contender": name, "version": own["version"].iloc[0], "sums": own["outputs"].iloc[0]}
        for case in cases.itertuples(index=False):
            here = own[(own[_CASE] == list(case)).all(axis=1)]
            row[_title(*case)] = _ratio(here.loc[here["n"].idxmax()]) if len(here) else ""
        single = plain[plain["n"] == 64]["seconds"]
        row["64 points (us)"] = f"{1e6 * single.iloc[0]:.3g}" if len(single) else ""
        row["first call (s)"] = f"{plain['first_call_seconds'].max():.2g}" if len(plain) else ""
        counted = plain["instructions_per_pair"].dropna()
        row["instructions per pair"] = f"{counted.iloc[0]:.3g}" if len(counted) else ""
        table.append(row)
    return pd.DataFrame(table)


def _title(d: int, dtype: str, threads: int) -> str:
    return f"d = {d}, {dtype}" + (f", {threads} threads" if threads > 1 else "")


def _ratio(row: pd.Series) -> str:
    smaller = f" (N = {row['n']})" if row["n"] < 10_000 else ""
    return f"{row['times_slower']:.3g} [{row['times_slower_low']:.3g}, {row['times_slower_high']:.3g}]{smaller}"
