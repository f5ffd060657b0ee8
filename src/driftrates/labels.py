"""Datasets in which every variable and coordinate says what it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import xarray as xr


def labelled(
    variables: Mapping[str, tuple], coordinates: Mapping[str, tuple] | None = None, attributes: Mapping[str, Any] | None = None
) -> xr.Dataset:
    """Dataset of name -> (dims, values, long_name, units); a coordinate of its own dimension may leave dims out.

    Raises ``ValueError`` that names an entry of another length.
    """
    return xr.Dataset(_described(variables), _described(coordinates or {}), dict(attributes or {}))


def _described(table: Mapping[str, tuple]) -> dict[str, tuple]:
    out = {}
    for name, entry in table.items():
        if len(entry) not in (3, 4):
            raise ValueError(f"{name!r} needs (dims, values, long_name, units) or (values, long_name, units), not {len(entry)} entries")
        *dims, values, text, unit = entry
        out[name] = (dims[0] if dims else name, values, {"long_name": text, "units": unit})
    return out
