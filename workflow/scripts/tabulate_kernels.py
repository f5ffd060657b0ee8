from _stage import run, write_dataset

from driftrates.measurements.assumptions import tabulate_kernels


def main(snakemake):
    table = tabulate_kernels(snakemake.params.kernels, snakemake.params.dimensions)
    write_dataset(table, snakemake, "Kernels and assumption A2.1")


run(main, snakemake)  # noqa: F821
