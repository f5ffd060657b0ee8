import pandas as pd
from _stage import run

from driftrates import store


def main(snakemake):
    ledger = pd.concat([store.read_csv(path) for path in snakemake.input], ignore_index=True)
    store.write_table(ledger, snakemake.output)


run(main, snakemake)  # noqa: F821
