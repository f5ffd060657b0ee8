from _stage import run

from driftrates import store
from driftrates.pipeline.runtime import tabulate


def main(snakemake):
    paths = dict(zip(snakemake.params.experiments, snakemake.input.flows, strict=True))
    provenance = {("simulate_flow", name): store.attributes(path) for name, path in paths.items()}
    runs = [tuple(run) for run in snakemake.params.runs]
    store.write_table(tabulate(runs, snakemake.input.benchmarks, provenance), snakemake.output)


run(main, snakemake)  # noqa: F821
