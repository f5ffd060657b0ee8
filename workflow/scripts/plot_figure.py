import importlib
from pathlib import Path

from _stage import read_data, run

from driftrates import figures


def main(snakemake):
    module = importlib.import_module(f"driftrates.figures.{snakemake.params.figure}")
    figures.save(module.plot(read_data(snakemake)), Path(snakemake.output[0]).with_suffix(""))


run(main, snakemake)  # noqa: F821
