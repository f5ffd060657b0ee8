"""What every stage does around its one call of the library."""

import io
import os
import sys
import traceback

from driftrates import store, sums
from driftrates.sums import cpu, cuda


class _Log(io.FileIO):
    """A disk without room costs lines of the log, not the stage, which says on the terminal what it could not write."""

    def write(self, data):
        try:
            return super().write(data)
        except OSError:
            return len(data)


def run(main, snakemake):
    """Call ``main(snakemake)`` with all output in the stage's log; a failure also ends in one line on the terminal.

    Without a log (`workflow/debug.py`) output and exceptions go where they go, so that a debugger sees them.
    """
    cpu.set_threads(snakemake.threads)
    if not snakemake.log:
        return main(snakemake)
    terminal = os.dup(2)
    try:
        raw = _Log(snakemake.log[0], "w")
    except OSError as error:
        sys.exit(f"{_label(snakemake)} failed: cannot write {snakemake.log[0]}: {error.strerror}; is there room and permission?")
    log = io.TextIOWrapper(io.BufferedWriter(raw), encoding="utf-8", line_buffering=True)
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    sys.stdout = sys.stderr = log
    try:
        main(snakemake)
    except Exception as error:
        traceback.print_exc()
        text = " ".join(f"{type(error).__name__}: {error}".split())
        os.write(terminal, f"{_label(snakemake)} failed: {text} (log: {snakemake.log[0]})\n".encode())
        sys.exit(1)


def read_data(snakemake):
    """The input Datasets by the names in ``params.names`` ("flow/figure1_conservative", ...)."""
    return {name: store.read(path) for name, path in zip(snakemake.params.names, snakemake.input, strict=True)}


def choose_device(snakemake):
    """``cpu`` or ``gpu``; ``--resources gpu=0`` makes it ``cpu`` whatever the configuration says."""
    wanted = snakemake.params.device
    asked = snakemake.resources.get("gpu", 0) or "gpu" in str(snakemake.resources.get("gres", ""))
    if not asked or wanted == "auto" and not cuda.available():
        return "cpu"
    return "cpu" if wanted == "cpu" else "gpu"


def write_dataset(ds, snakemake, title, **provenance):
    """Store the result of the stage with its parameters, and the engines that served it if the result does not say so itself."""
    provenance.setdefault("engine", ds.attrs.get("engine") or sums.describe(sums.work()))
    params = {key: value for key, value in snakemake.params.items() if key != "digest"}
    store.write(ds, snakemake.output[0], title=title, digest=snakemake.params.digest, params=params, **provenance)


def _label(snakemake):
    return " ".join([snakemake.rule, *snakemake.wildcards])
