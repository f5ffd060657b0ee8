from _stage import run

from driftrates import store
from driftrates.pipeline import verification


def main(snakemake):
    computed = verification.compute_all(snakemake.params.jobs, processes=snakemake.threads)
    table = verification.compare(computed, store.read_csv(snakemake.input[0]))
    print(table[table["verdict"] != "agrees"].to_string())
    verification.require(table)
    store.write_csv(table, snakemake.output[0])


run(main, snakemake)  # noqa: F821
