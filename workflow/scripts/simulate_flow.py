from pathlib import Path

from _stage import choose_device, run, write_dataset

from driftrates import store
from driftrates.checkpoints import CheckpointFile
from driftrates.simulate import simulate_flow
from driftrates.sums import cuda


def main(snakemake):
    params = snakemake.params

    def simulate(device):
        checkpoint = CheckpointFile(
            # Beside data/flow, where Snakemake, which knows nothing of it, leaves it when the stage fails or is killed.
            Path(snakemake.output[0]).parents[2] / f"checkpoints/{params.experiment['name']}.checkpoint",
            {**dict(params.items()), "device": cuda.device_name() if device == "gpu" else "cpu", "versions": store.versions()},
            seconds=snakemake.resources.get("checkpoint_seconds", 0),
        )
        return simulate_flow(params.experiment, seed=params.seed, device=device, checkpoint=checkpoint), checkpoint

    (flow, checkpoint), name = cuda.run(simulate, choose_device(snakemake), fall_back=params.device == "auto")
    title = f"Drifting clouds of the experiment {params.experiment['name']}"
    write_dataset(flow, snakemake, title, seed=params.seed, device=name)
    checkpoint.remove()


run(main, snakemake)  # noqa: F821
