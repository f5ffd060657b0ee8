from _stage import run

from driftrates import store
from driftrates.pipeline.runtime import measured
from driftrates.pipeline.schedule import tabulate


def main(snakemake):
    params, runs = snakemake.params, [tuple(run) for run in snakemake.params.runs]
    seconds = {run: measured(path)[0] for run, path in zip(runs, snakemake.input.benchmarks, strict=True)}
    flows = zip(params.small["experiments"], snakemake.input.flows, strict=True)
    evaluations = {name: store.read(path)["evaluations"].mean("replicate").to_numpy() for name, path in flows}
    needs = {tuple(run.split()): names for run, names in params.needs.items()}
    store.write_table(tabulate(params.small, params.large, seconds, evaluations, needs), snakemake.output)


run(main, snakemake)  # noqa: F821
