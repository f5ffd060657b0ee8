"""Results on disk: CF conventions, provenance, the same bytes for the same numbers, and no half-written file."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import shutil
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
import xarray as xr

CONVENTIONS = "CF-1.13"
REFERENCES = "arXiv:2605.22795; arXiv:2603.09936"
LIBRARIES = ("numpy", "scipy", "llvmlite", "finufft", "xarray", "netCDF4")
_MAGIC = (b"\x89HDF\r\n\x1a\n", b"CDF")
_SEAL = b"driftrates sha256 "
"""Stands behind the end of the data, where NetCDF does not look, before the digest of all that precedes it."""


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path in the folder of ``path``, the process's own, that takes its place when the block ends well.

    The suffix is kept. Whatever goes wrong, the temporary file is removed and an older ``path`` stays as it was; a full disk or a
    folder that cannot be written ends in one ``OSError`` that names ``path``. What killed processes of this machine left of theirs is
    removed as well. The content is on the disk before it takes the name, so that a power cut leaves no empty file.
    """
    path = Path(path)
    temporary = path.with_name(f"{_own(path)}{os.getpid()}{path.suffix}")
    try:
        if not path.parent.is_dir():
            raise FileNotFoundError(f"the folder {path.parent} does not exist")
        remove_abandoned(path)
        yield temporary
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        free = f" ({shutil.disk_usage(path.parent).free / 1e6:.1f} MB free)" if path.parent.is_dir() else ""
        raise OSError(f"cannot write {path}: {error.strerror or error}; is there room and permission in {path.parent}{free}?") from error
    finally:
        # On a disk that was made read-only under way even the search for the file ends in an error, which must not hide the message.
        with suppress(OSError):
            temporary.unlink()


def remove_abandoned(path: str | Path) -> None:
    """Remove the temporary files of `replacing` for ``path`` that killed processes of this machine left."""
    path = Path(path)
    for left in path.parent.glob(f"{glob.escape(_own(path))}*{glob.escape(path.suffix)}"):
        pid = left.name[len(_own(path)) : len(left.name) - len(path.suffix)]
        if pid.isdecimal() and not _alive(int(pid)):
            left.unlink(missing_ok=True)


def _own(path: Path) -> str:
    return f".{path.stem}.{_place()}."


@cache
def _place() -> str:
    """Where a process number means this process: the machine, and the process namespace, since containers may share a host's name."""
    try:
        space = os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        space = 0
    return f"{socket.gethostname()}-{space}"


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


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
        "versions": versions(),
        "seal": "SHA-256 of all before it, behind the end of the data",
    }
    attributes = {**ds.attrs, **{key: value for key, value in ours.items() if value is not None}}
    encoding = {name: _encoding(variable) for name, variable in ds.variables.items()}
    with replacing(path) as temporary:
        try:
            ds.assign_attrs(attributes).to_netcdf(temporary, engine="netcdf4", format="NETCDF4", encoding=encoding)
        except RuntimeError as error:
            raise OSError(str(error)) from error
        with temporary.open("r+b") as stream:
            stream.write(_SEAL + hashlib.file_digest(stream, "sha256").digest())


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
    path, fault = Path(path), "is not a NetCDF file"
    try:
        with path.open("rb") as stream:
            head, sealed = stream.read(8), _sealed(stream)
        if sealed is False:
            raise OSError("it does not have the content that was written")
        if head.startswith(_MAGIC):
            with xr.open_dataset(path, engine="netcdf4", decode_times=False, decode_timedelta=False) as dataset:
                if str(dataset.attrs.get("source", "")).startswith("driftrates ") and "source_digest" in dataset.attrs:
                    if sealed is None and "seal" in dataset.attrs:
                        raise OSError("its end is missing")
                    yield dataset
                    return
                fault = "was not written by driftrates: it lacks the attributes source and source_digest"
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file; the workflow makes it") from None
    except MemoryError:
        raise
    except Exception as error:  # damaged bytes show as errors of many kinds
        raise ValueError(f"{path} is truncated or damaged ({error}); remove it and run the workflow again") from error
    raise ValueError(f"{path} {fault}; remove it and run the workflow again")


def _sealed(stream: BinaryIO) -> bool | None:
    """Whether the content is that of its seal, None without one. Asked first, since damage may crash the NetCDF library."""
    left = stream.seek(0, os.SEEK_END) - len(_SEAL) - 32
    stream.seek(max(left, 0))
    seal, digest = stream.read(len(_SEAL)), stream.read()
    if seal != _SEAL:
        return None
    stream.seek(0)
    content = hashlib.sha256()
    while chunk := stream.read(min(left, 2**20)):
        content.update(chunk)
        left -= len(chunk)
    return content.digest() == digest


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


def versions() -> str:
    """Names and versions of `LIBRARIES`, on which the last digits of a result may depend."""
    return ", ".join(f"{name} {_version(name)}" for name in LIBRARIES)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"
