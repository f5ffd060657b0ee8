import importlib

from _stage import read_data, run

from driftrates import store


def main(snakemake):
    module, name = snakemake.params.function.split(":")
    store.write_table(getattr(importlib.import_module(module), name)(read_data(snakemake)), snakemake.output)


run(main, snakemake)  # noqa: F821
