from pathlib import Path

from _stage import run

from driftrates import figures, store
from driftrates.figures import claims_overview


def main(snakemake):
    figures.save(claims_overview.plot(store.read_csv(snakemake.input[0])), Path(snakemake.output[0]).with_suffix(""))


run(main, snakemake)  # noqa: F821
