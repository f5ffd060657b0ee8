from _stage import run, write_dataset

from driftrates.performance.passes import measure_performance


def main(snakemake):
    measured = measure_performance(snakemake.input, **snakemake.params.options)
    write_dataset(measured, snakemake, "performance of the kernel sums", device="cpu")


run(main, snakemake)  # noqa: F821
