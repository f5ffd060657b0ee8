"""The user's own tables of numbers: CSV, NumPy and NetCDF files. A file is read, never executed: no pickles, no expressions."""

from __future__ import annotations

import csv
import inspect
import math
from pathlib import Path

import numpy as np

from driftrates.messages import one_line, short, shown

MOST_NUMBERS = 2**28
"""Numbers (2 GiB of them) that are read from one file; those of a cloud or a target are far fewer."""
_MISSING = {"", "na", "n/a", "null", "none", "-", "?"}


def read_table(
    path: str,
    *,
    variable: str | None = None,
    columns: list[str | int] | None = None,
    header: bool | None = None,
    delimiter: str = ",",
) -> tuple[np.ndarray, list[str]]:
    """The rows of a .csv, .npy or .nc file, (M, d) float64 with M >= 2, and the label of each column for messages.

    A relative path starts at the working directory. ``columns`` chooses by header name or by index from 0; ``header`` (CSV) is
    recognised if left out; ``variable`` (NetCDF) may be left out where there is one only.
    Raises ``ValueError`` naming the key, or the file and the place in it, unless all values chosen are finite numbers.
    """
    if header is not None and not isinstance(header, bool):
        raise ValueError(f"header must be true or false, not {shown(header)}")
    if not isinstance(path, (str, Path)) or not str(path) or "\0" in str(path):
        raise ValueError(f"path must be the name of a file, not {shown(path)}")
    if variable is not None and not isinstance(variable, str):
        raise ValueError(f"variable must be a name, not {shown(variable)}")
    chosen = [columns] if isinstance(columns, (str, int)) else columns
    if chosen is not None and (not chosen or any(isinstance(c, bool) or not isinstance(c, (str, int)) for c in chosen)):
        raise ValueError(f"columns must be a list of header names or indices from 0, not {shown(columns)}")
    readers = {".csv": _read_csv, ".npy": _read_npy, ".nc": _read_netcdf}
    own_keys = {".csv": {"header": header, "delimiter": delimiter}, ".nc": {"variable": variable}}
    suffix = Path(path).suffix.lower()
    try:
        if suffix not in readers:
            raise ValueError(f"the name must end in {', '.join(readers)}, not {shown(suffix)}")
        # Neither a folder, nor a pipe or device that never ends.
        if not _is_file(path):
            raise ValueError("there is no such file; give an existing CSV, NPY or NetCDF file")
        for keys in (own_keys[s] for s in own_keys if s != suffix):
            for key in keys:
                if keys[key] != inspect.signature(read_table).parameters[key].default:
                    raise ValueError(f"the key {key} does not apply to {suffix} files")
        try:
            values, names = readers[suffix](Path(path), chosen, **own_keys.get(suffix, {}))
        except (OSError, RuntimeError) as error:
            raise ValueError(f"cannot be read ({error})") from None
        if len(values) < 2:
            raise ValueError(f"{len(values) or 'no'} {'row' if len(values) == 1 else 'rows'} of data; at least 2 are needed")
        return values, names
    except ValueError as error:
        raise ValueError(one_line(f"file {short(str(path), 300)}: {error}")) from None


def _is_file(path: str | Path) -> bool:
    try:
        return Path(path).is_file()
    except (OSError, ValueError):  # too long a name, or one that the file system cannot hold
        return False


def _choose(columns: list[str | int] | None, names: list[str], width: int) -> list[int]:
    """Indices of the wanted columns among ``width``, whose header names are ``names`` (empty if there are none)."""
    indices = []
    for c in range(width) if columns is None else columns:
        if isinstance(c, str) and not names:
            raise ValueError(f"column {shown(c)} needs a header; give indices from 0")
        if isinstance(c, str) and names.count(c) != 1:
            raise ValueError(f"column {shown(c)} stands {names.count(c)} times in the header: {short(', '.join(names), 300)}")
        index = names.index(c) if isinstance(c, str) else c
        if not 0 <= index < width:
            raise ValueError(f"there is no column {shown(c)}; indices go from 0 to {width - 1}")
        indices.append(index)
    return indices


def _label(index: int, names: list[str]) -> str:
    return f"column {index} ({shown(names[index])})" if names else f"column {index}"


def _number(cell: str) -> float | None:
    try:
        return None if "_" in cell else float(cell)
    except ValueError:
        return None


def _read_csv(path: Path, columns: list[str | int] | None, header: bool | None, delimiter: str) -> tuple[np.ndarray, list[str]]:
    if not isinstance(delimiter, str) or len(delimiter) != 1 or delimiter.isalnum() or delimiter not in " \t,;|:!#$%&'*/<=>?@^~":
        raise ValueError(f"delimiter must be one character that no number holds, such as , ; | or a tab, not {shown(delimiter)}")
    rows: list[list[float]] = []
    names: list[str] = []
    indices: list[int] = []
    width = None
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream, delimiter=delimiter, strict=True)
            for cells in reader:
                if not any(cell.strip() for cell in cells) and len(cells) < 2:
                    continue
                if width is None:
                    width = len(cells)
                    named = columns is not None and any(isinstance(c, str) for c in columns)
                    texts = [cell.strip() for cell in cells]
                    wordy = all(_number(cell) is None for cell in texts) and not all(cell.lower() in _MISSING for cell in texts)
                    if header is True or header is None and (named or wordy):
                        names = texts
                    indices = _choose(columns, names, width)
                    if names:
                        continue
                if len(cells) != width:
                    raise ValueError(f"line {reader.line_num} has {len(cells)} cells, the first line {width}: all must have as many")
                row = [_number(cells[i]) for i in indices]
                for i, value in zip(indices, row, strict=True):
                    if value is None or not math.isfinite(value):
                        wrong = "is empty" if not cells[i].strip() else f"holds {shown(cells[i])}"
                        remedy = "a finite number with a decimal point is needed; leave it out by columns, or set delimiter"
                        remedy += "" if rows or names else ", or header to true if this line holds names"
                        raise ValueError(f"line {reader.line_num}, {_label(i, names)} {wrong}: {remedy}")
                rows.append(row)
                if len(rows) * len(row) > MOST_NUMBERS:
                    raise ValueError(f"holds more than {MOST_NUMBERS} numbers; choose with columns, or give a part of it")
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 text (byte {error.start})") from None
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num} is not CSV ({error})") from None
    return np.array(rows, np.float64).reshape(len(rows), len(indices)), [_label(i, names) for i in indices]


def _read_npy(path: Path, columns: list[str | int] | None) -> tuple[np.ndarray, list[str]]:
    try:
        with path.open("rb") as stream:
            version = np.lib.format.read_magic(stream)
            read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
            if read_header is None:
                raise ValueError(f"version {version} of the format is for names of fields, which points have not")
            shape, _, dtype = read_header(stream)
            _refuse_many(shape)
            wanted, held = math.prod(shape) * dtype.itemsize, path.stat().st_size - stream.tell()
            if dtype.hasobject or min(shape, default=0) < 0 or wanted != held and not dtype.hasobject:
                problem = "objects" if dtype.hasobject else f"{wanted} bytes of data by its header, but {held} bytes are there"
                raise ValueError(f"it holds {problem}")
            stream.seek(0)
            array = np.lib.format.read_array(stream, allow_pickle=False)
    except Exception as error:  # whatever NumPy makes of bytes that are no header
        raise ValueError(f"is not a plain array of numbers in NPY format, pickles are refused ({short(str(error), 200)})") from None
    return _table(array, columns)


def _refuse_many(shape: tuple[int, ...]) -> None:
    if math.prod(shape) > MOST_NUMBERS:
        raise ValueError(f"holds an array of shape {shape}; at most {MOST_NUMBERS} numbers are read, give a part of it")


def _read_netcdf(path: Path, columns: list[str | int] | None, variable: str | None) -> tuple[np.ndarray, list[str]]:
    import xarray as xr

    try:
        with path.open("rb") as stream:
            version = stream.read(4)
        # The netCDF library reads zeros where a file of the classic format ends too early; SciPy does not.
        engine = "scipy" if version in (b"CDF\1", b"CDF\2") else "netcdf4"
        if version == b"CDF\5":
            raise ValueError("its format, 64-bit data, is not read; nccopy -k nc4 converts it")
        with xr.open_dataset(path, engine=engine, decode_times=False) as dataset:
            if variable is None and len(dataset.data_vars) == 1:
                variable = str(next(iter(dataset.data_vars)))
            known = short(", ".join(map(str, dataset.variables)) or "none", 300)
            shape = dataset[variable].shape if variable in dataset.variables else None
            array = dataset[variable].values if shape is not None and math.prod(shape) <= MOST_NUMBERS else None
    except Exception as error:  # attributes that xarray cannot apply, or what the library makes of a damaged file
        raise ValueError(f"cannot be read ({type(error).__name__}: {short(str(error), 200)})") from None
    if shape is None:
        problem = "variable is needed" if variable is None else f"there is no variable {shown(variable)}"
        raise ValueError(f"{problem}; set variable to one of: {known}")
    _refuse_many(shape)
    return _table(array, columns)


def _table(array: np.ndarray, columns: list[str | int] | None) -> tuple[np.ndarray, list[str]]:
    if array.dtype.kind not in "iuf":
        raise ValueError(f"holds values of type {array.dtype}; real numbers are needed")
    if array.ndim not in (1, 2):
        raise ValueError(f"holds an array of shape {array.shape}; (points, components) or (points,) is needed")
    values = array.reshape(len(array), -1) if array.size else np.empty((0, 1))
    indices = _choose(columns, [], values.shape[1])
    chosen = values[:, indices]
    with np.errstate(over="ignore"):
        values = chosen.astype(np.float64)
    if chosen.dtype.kind in "iu":
        # Bits of a whole number below the 53 that are kept must be 0.
        below = np.maximum(np.frexp(values)[1] - 53, 0).astype(chosen.dtype)
        for row, column in np.argwhere(chosen & ((chosen.dtype.type(1) << below) - 1))[:1]:
            raise ValueError(f"row {row}, column {indices[column]} holds {chosen[row, column]}, which double precision would round")
    bad = np.argwhere(~np.isfinite(values))
    if bad.size:
        row, column = bad[0]
        raise ValueError(f"row {row}, column {indices[column]} holds {values[row, column]}: finite numbers are needed")
    return values, [_label(i, []) for i in indices]
