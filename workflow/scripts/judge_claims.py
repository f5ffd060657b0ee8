from _stage import read_data, run

from driftrates import claims, store


def main(snakemake):
    ledger = claims.judge(snakemake.params.chapter, read_data(snakemake))
    store.write_csv(ledger, snakemake.output[0])


run(main, snakemake)  # noqa: F821
