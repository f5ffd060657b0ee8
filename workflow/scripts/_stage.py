"""What every stage does around its one call of the library."""

import os
import sys
import traceback

from driftrates import store
from driftrates.sums import cpu, cuda


def run(main, snakemake):
    """Call ``main(snakemake)`` with all output in the stage's log; a failure also ends in one line on the terminal."""
    terminal = os.dup(2)
    log = open(snakemake.log[0], "w", buffering=1, encoding="utf-8")
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    sys.stdout = sys.stderr = log
    cpu.set_threads(snakemake.threads)
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
    if snakemake.resources.get("gpu", 0) == 0 or wanted == "auto" and not cuda.available():
        return "cpu"
    return "cpu" if wanted == "cpu" else "gpu"


def write_dataset(ds, snakemake, title, **provenance):
    """Store the result of the stage with its parameters."""
    params = {key: value for key, value in snakemake.params.items() if key != "digest"}
    store.write(ds, snakemake.output[0], title=title, digest=snakemake.params.digest, params=params, **provenance)


def _label(snakemake):
    return " ".join([snakemake.rule, *snakemake.wildcards])
