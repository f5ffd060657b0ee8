"""Arrays that behave like CuPy's towards the host, for tests without a GPU: nothing is converted silently, every copy is counted."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np


class Device(np.lib.mixins.NDArrayOperatorsMixin):
    """An array "on the device": its values reach the host by ``get`` (or as a Python number) alone, and `copies` says how often."""

    copies = 0
    __module__ = "cupy"  # by which `driftrates.arrays.namespace` knows CuPy's arrays

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def get(self) -> np.ndarray:
        Device.copies += 1
        return self.values.copy()

    def __bool__(self) -> bool:
        Device.copies += 1
        return bool(self.values)

    def __float__(self) -> float:
        Device.copies += 1
        return float(self.values)

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise TypeError("implicit conversion to a NumPy array is not allowed")

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Any:
        return (Device(v) for v in self.values)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        out = options.pop("out", None)
        result = getattr(ufunc, method)(*map(_inner, inputs), **options)
        if out is None:
            return _outer(result)
        out[0].values[...] = result
        return out[0]

    def __array_function__(self, function: Any, types: Any, arguments: Any, options: Any) -> Any:
        return _outer(function(*map(_inner, arguments), **{k: _inner(v) for k, v in options.items()}))

    def __getitem__(self, key: Any) -> Any:
        return _outer(self.values[_key(key)])

    def __setitem__(self, key: Any, value: Any) -> None:
        self.values[_key(key)] = _inner(value)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        found = getattr(self.values, name)
        return _outer(found) if not callable(found) else lambda *a, **o: _outer(found(*map(_inner, a), **o))


class _Namespace:
    """NumPy's functions for `Device` arrays."""

    __name__, __version__, ndarray = "cupy", "14.0.0", Device
    float32, float64, int64 = np.float32, np.float64, np.int64

    @staticmethod
    def is_available() -> bool:
        return True

    @staticmethod
    def asarray(values: Any, dtype: Any = None) -> Device:
        return Device(np.asarray(values.values if isinstance(values, Device) else values, dtype=dtype))

    @staticmethod
    def array(values: Any, dtype: Any = None) -> Device:
        return Device(np.array(values.values if isinstance(values, Device) else values, dtype=dtype))

    @property
    def fft(self) -> Any:
        return SimpleNamespace(ifftn=lambda a: _outer(np.fft.ifftn(_inner(a))))

    def __getattr__(self, name: str) -> Any:
        if name == "cuda" or name.startswith("__"):
            raise AttributeError(name)
        function = getattr(np, name)
        return lambda *a, **o: _outer(function(*map(_inner, a), **{k: _inner(v) for k, v in o.items()}))


namespace = _Namespace()


def _inner(value: Any) -> Any:
    if isinstance(value, Device):
        return value.values
    if isinstance(value, np.ndarray) and value.ndim:
        raise TypeError(f"an array of the host of shape {value.shape} among those of the device")
    return type(value)(map(_inner, value)) if isinstance(value, (list, tuple)) and not hasattr(value, "_fields") else value


def _key(key: Any) -> Any:
    # CuPy copies an index from the host by itself.
    if isinstance(key, tuple):
        return tuple(map(_key, key))
    return key.values if isinstance(key, Device) else key


def _outer(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        return Device(np.asarray(value))
    return type(value)(map(_outer, value)) if isinstance(value, (list, tuple)) and value and isinstance(value[0], np.ndarray) else value
