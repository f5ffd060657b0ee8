"""The array namespace of an array, so that one body of code serves NumPy and CuPy."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np


def namespace(x: Any) -> ModuleType:
    """``cupy`` for a CuPy array, ``numpy`` for anything else; CuPy is imported only in the first case."""
    if type(x).__module__.partition(".")[0] == "cupy":
        import cupy

        return cupy
    return np


def to_host(a: Any) -> np.ndarray:
    """``a`` as a NumPy array; a device array is copied."""
    return a.get() if hasattr(a, "get") else np.asarray(a)
