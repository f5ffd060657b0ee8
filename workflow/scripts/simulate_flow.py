from _stage import choose_device, run, write_dataset

from driftrates.simulate import simulate_flow
from driftrates.sums import cuda


def main(snakemake):
    params, device = snakemake.params, choose_device(snakemake)
    flow = simulate_flow(params.experiment, seed=params.seed, device=device)
    title = f"Drifting clouds of the experiment {params.experiment['name']}"
    write_dataset(flow, snakemake, title, seed=params.seed, device=cuda.device_name() if device == "gpu" else "cpu")


run(main, snakemake)  # noqa: F821
