# The resolved configuration, and what several rules share.

from pathlib import Path

import yaml
from snakemake.exceptions import WorkflowError

from driftrates.config import resolve
from driftrates.digest import source_digest
from driftrates.sums import cuda


pathvars:
    data="<results>/data",
    logs="<results>/logs",
    benchmarks="<results>/benchmarks",


# From here on the configuration is the resolved one; a mistake in it ends in one message before any job.
try:
    config.update(
        resolve(
            config,
            yaml.safe_load(Path(workflow.source_path("../schemas/config.schema.yaml")).read_text()),
            # The machine that submits to a cluster need not have the GPU.
            check_device=workflow.local_exec,
        )
    )
except ValueError as error:
    raise WorkflowError(str(error)) from None


wildcard_constraints:
    experiment="|".join(config["experiments"]),
    map="|".join(config["field_maps"]),


def data_files(names):
    """Files of the Datasets `names`; each must belong to the configuration."""
    missing = sorted(set(names) - set(DATA))
    if missing:
        raise WorkflowError(
            f"configuration, experiments: {missing[0]} is made by no experiment or field map, but a chapter, table or figure of "
            "workflow/rules/outline.smk needs it"
        )
    return [f"<data>/{name}.nc" for name in names]


def own_files(wildcards):
    """The user's own data files of an experiment."""
    experiment = config["experiments"][wildcards.experiment]
    data = [part.get("data", {}) for part in (experiment["target"], experiment["start"])]
    return [spec["path"] for spec in data if "path" in spec]


def simulated(wildcards):
    """What a simulation depends on: the experiment without the list of what is measured on it."""
    experiment = config["experiments"][wildcards.experiment]
    return {key: value for key, value in experiment.items() if key != "measure"}


def stage_digest(stage, *entries):
    """Digest of the script of `stage` and of the library code that it uses; `entries`: modules that it loads by name."""
    script = Path(workflow.source_path(f"../scripts/{stage}.py"))
    try:
        return source_digest(script, *entries)
    except ValueError as error:
        raise WorkflowError(str(error)) from None


def gpus(wildcards):
    """GPUs of a simulation; one only where one is used, since this limits the number of jobs at a time."""
    device = config["device"]
    return int(device == "gpu" or device == "auto" and cuda.available())
