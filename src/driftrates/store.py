"""Results on disk: CF conventions, provenance, the same bytes for the same numbers, and no half-written file."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

CONVENTIONS = "CF-1.13"
REFERENCES = "arXiv:2605.22795; arXiv:2603.09936"
LIBRARIES = ("numpy", "scipy", "xarray", "netCDF4")
_MAGIC = (b"\x89HDF\r\n\x1a\n", b"CDF")


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path in the folder of ``path``, the process's own, that takes its place when the block ends well.

    The suffix is kept. Whatever goes wrong, the temporary file is removed and an older ``path`` stays as it was; a full disk or a
    folder that cannot be written ends in one ``OSError`` that names ``path``.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{socket.gethostname()}.{os.getpid()}{path.suffix}")
    try:
        if not path.parent.is_dir():
            raise FileNotFoundError(f"the folder {path.parent} does not exist")
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(f"cannot write {path}: {error.strerror or error}; is there room and permission in {path.parent}?") from error
    finally:
        temporary.unlink(missing_ok=True) if path.parent.is_dir() else None


def write(
    ds: xr.Dataset,
    path: str | Path,
    *,
    title: str,
    digest: str,
    params: Mapping[str, Any],
    seed: int | None = None,
    engine: str | None = None,
    device: str | None = None,
) -> None:
    """Write ``ds`` as NetCDF-4 with its provenance.

    title (one line), digest (`digest.source_digest` of the stage), params (what the stage was given; becomes JSON); seed, engine
    and device default to the attributes of those names of ``ds``. Equal arguments give equal bytes on one machine.
    Raises ``ValueError`` for a variable without ``long_name`` or ``units``, and ``OSError`` where the file cannot be written.
    """
    for name, variable in ds.variables.items():
        missing = [a for a in ("long_name", "units") if not variable.attrs.get(a)]
        if missing:
            raise ValueError(f"{title}: variable {str(name)!r} has no {' and no '.join(missing)}; every variable of a result needs both")
    ours = {
        "Conventions": CONVENTIONS,
        "title": title,
        "source": f"driftrates {_version('driftrates')}",
        "references": REFERENCES,
        "source_digest": digest,
        "config": json.dumps(params, sort_keys=True),
        "seed": seed,
        "engine": engine,
        "device": device,
        "dtype": " ".join(sorted({str(v.dtype) for v in ds.data_vars.values() if v.dtype.kind == "f"})) or "none",
        "versions": ", ".join(f"{name} {_version(name)}" for name in LIBRARIES),
    }
    attributes = {**ds.attrs, **{key: value for key, value in ours.items() if value is not None}}
    encoding = {name: _encoding(variable) for name, variable in ds.variables.items()}
    with replacing(path) as temporary:
        try:
            ds.assign_attrs(attributes).to_netcdf(temporary, engine="netcdf4", format="NETCDF4", encoding=encoding)
        except RuntimeError as error:
            raise OSError(f"NetCDF: {error}") from error


def read(path: str | Path) -> xr.Dataset:
    """The Dataset that `write` put at ``path``, loaded into memory. Raises ``ValueError`` if it is missing, damaged or not ours."""
    with _opened(path) as dataset:
        return dataset.load()


def attributes(path: str | Path) -> dict[str, Any]:
    """The global attributes alone. Raises ``ValueError`` as `read` does."""
    with _opened(path) as dataset:
        return dict(dataset.attrs)


@contextmanager
def _opened(path: str | Path) -> Iterator[xr.Dataset]:
    path = Path(path)
    try:
        with path.open("rb") as stream:
            head = stream.read(8)
        if not head.startswith(_MAGIC):
            raise ValueError(f"{path} is not a NetCDF file; remove it and run the workflow again")
        with xr.open_dataset(path, engine="netcdf4", decode_times=False, decode_timedelta=False) as dataset:
            if not str(dataset.attrs.get("source", "")).startswith("driftrates ") or "source_digest" not in dataset.attrs:
                raise ValueError(f"{path} was not written by driftrates: it lacks the attributes source and source_digest")
            yield dataset
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file; the workflow makes it") from None
    except (OSError, RuntimeError) as error:
        raise ValueError(f"{path} is truncated or damaged ({error}); remove it and run the workflow again") from error


def write_csv(frame: pd.DataFrame, path: str | Path) -> None:
    """Write ``frame`` as CSV, floats to the last digit."""
    with replacing(path) as temporary:
        frame.to_csv(temporary, index=False, lineterminator="\n")


def read_csv(path: str | Path) -> pd.DataFrame:
    """What `write_csv` wrote; an empty text stays one. Raises ``ValueError`` if the file is missing or no table."""
    try:
        frame = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is not a table that the workflow wrote ({error})") from error
    texts = frame.columns[frame.dtypes.map(pd.api.types.is_string_dtype)]
    return frame.assign(**{column: frame[column].fillna("") for column in texts})


def write_table(frame: pd.DataFrame, paths: Iterable[str | Path]) -> None:
    """Write ``frame`` to each path in the format of its suffix: .csv in full, .md and .tex with four significant digits.

    Raises ``ValueError`` for another suffix.
    """
    for path in map(Path, paths):
        if path.suffix == ".csv":
            write_csv(frame, path)
            continue
        shown = frame.map(lambda v: f"{v:.4g}" if isinstance(v, float) else str(v))
        if path.suffix == ".md":
            text = shown.map(lambda v: v.replace("|", r"\|")).to_markdown(index=False, disable_numparse=True)
        elif path.suffix == ".tex":
            shown = shown.map(_latex).rename(columns=_latex)
            text = shown.to_latex(index=False, escape=False, longtable=False)
        else:
            raise ValueError(f"{path}: tables are written as .csv, .md or .tex")
        with replacing(path) as temporary:
            temporary.write_text(text.rstrip("\n") + "\n", encoding="utf-8")


def _latex(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"} | {c: "\\" + c for c in "&%$#_{}"}
    return "".join(special.get(c, c) for c in text)


def _encoding(variable: xr.Variable) -> dict[str, Any]:
    if variable.dtype.kind not in "biuf":
        return {"zlib": False}
    compressed = variable.ndim > 0 and variable.size > 0
    encoding: dict[str, Any] = {"zlib": compressed} if variable.dtype.kind == "b" else {"dtype": variable.dtype, "zlib": compressed}
    if compressed:
        encoding |= {"complevel": 4, "shuffle": True, "chunksizes": _chunks(variable.shape, variable.dtype)}
    if variable.dtype.kind == "f":
        encoding["_FillValue"] = None
    return encoding


def _chunks(shape: tuple[int, ...], dtype: np.dtype) -> tuple[int, ...]:
    """Whole trailing axes as far as they fit into 1 MiB, then a part of the next one, one of each before it."""
    room, chunks = 2**20 // dtype.itemsize, []
    for length in reversed(shape):
        chunks.insert(0, max(1, min(length, room)))
        room //= max(1, length)
    return tuple(chunks)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"
