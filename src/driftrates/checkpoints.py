"""Interrupted simulations: what is done so far on disk, taken up again by the very same simulation only."""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from driftrates import flow, store
from driftrates.arrays import namespace, to_host

_MAGIC = b"driftrates checkpoint 1\n"


class Position(NamedTuple):
    """The last output time recorded: of the cell (bandwidth, size) the one with index ``time``; all cells before it are finished."""

    bandwidth: int
    size: int
    time: int


class Resumed(NamedTuple):
    """Where a simulation goes on: the `flow.integrate` state (arrays on the host) and its controller."""

    position: Position
    state: flow.State
    controller: flow.Checkpoint


class CheckpointFile:
    """The unfinished simulation that is kept at ``path``.

    parameters: all that the result depends on (JSON); a file of others is never taken up.
    seconds: at least so many between two writes, by a clock that never jumps; 0 neither writes nor reads.
    """

    def __init__(self, path: str | Path, parameters: Mapping[str, Any], *, seconds: float) -> None:
        self.path, self.seconds = Path(path), seconds
        self._key = hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).digest()
        self._written = time.monotonic()

    def due(self) -> bool:
        return self.seconds > 0 and time.monotonic() - self._written >= self.seconds

    def save(self, position: Position, record: flow.Record, results: Mapping[str, np.ndarray]) -> None:
        """Replace the file, at once or not at all; a disk without room costs one line in the log, not the simulation."""
        arrays = {f"results.{name}": values for name, values in results.items()}
        for part in ("state", "checkpoint"):
            arrays |= {f"{part}.{name}": to_host(values) for name, values in getattr(record, part)._asdict().items()}
        stream = io.BytesIO()
        np.savez(stream, position=np.array(position), **arrays)
        payload = stream.getvalue()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with store.replacing(self.path) as temporary:
                temporary.write_bytes(_MAGIC + self._key + hashlib.sha256(payload).digest() + payload)
        except OSError as error:
            print(f"no checkpoint: {error}", flush=True)
        self._written = time.monotonic()

    def restore(self, results: Mapping[str, np.ndarray]) -> Resumed | None:
        """Fill ``results`` in place with what `save` was given, and say where to go on; None if there is nothing to trust.

        A file that is damaged, foreign, or of other parameters is ignored, with one line in the log.
        """
        if not self.seconds > 0 or not self.path.exists():
            return None
        payload = self._payload()
        if payload is None:
            return None
        with np.load(io.BytesIO(payload), allow_pickle=False) as saved:
            for name, values in results.items():
                values[...] = saved[f"results.{name}"]
            state = flow.State(*(saved[f"state.{name}"] for name in flow.State._fields))
            controller = flow.Checkpoint(*(saved[f"checkpoint.{name}"] for name in flow.Checkpoint._fields))
            return Resumed(Position(*saved["position"].tolist()), state, controller)

    def remove(self) -> None:
        """To be called when the result is complete."""
        self.path.unlink(missing_ok=True)
        store.remove_abandoned(self.path)

    def _payload(self) -> bytes | None:
        try:
            content = self.path.read_bytes()
        except OSError as error:
            return self._ignore(f"it cannot be read ({error.strerror})")
        start = len(_MAGIC)
        key, digest, payload = content[start : start + 32], content[start + 32 : start + 64], content[start + 64 :]
        if not content.startswith(_MAGIC) or hashlib.sha256(payload).digest() != digest:
            return self._ignore("it is damaged or no checkpoint")
        if key != self._key:
            return self._ignore("it belongs to other parameters, another device or another version of the code")
        return payload

    def _ignore(self, reason: str) -> None:
        print(f"checkpoint {self.path} ignored: {reason}; starting anew", flush=True)


def on_device(resumed: Resumed, like: Any) -> flow.State:
    """The state of ``resumed`` with its arrays in the namespace of ``like``."""
    xp, state = namespace(like), resumed.state
    return flow.State(state.t, xp.asarray(state.x), xp.asarray(state.carried))
