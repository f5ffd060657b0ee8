import importlib

from _stage import read_data, run

from driftrates import store


def main(snakemake):
    tables = importlib.import_module("driftrates.tables")
    make = getattr(tables, snakemake.params.table)
    store.write_table(make(read_data(snakemake)), snakemake.output)


run(main, snakemake)  # noqa: F821
