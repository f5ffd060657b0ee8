# The resolved configuration, and what several rules share.

import copy
import functools
import hashlib
import sys
from pathlib import Path

import yaml
from snakemake.exceptions import WorkflowError

from driftrates.pipeline import configfile as configuration_file
from driftrates.pipeline import cost, verification
from driftrates.pipeline.config import resolve
from driftrates.pipeline.digest import source_digest
from driftrates.sums import cuda


pathvars:
    data="<results>/data",
    logs="<results>/logs",
    benchmarks="<results>/benchmarks",


# Before Snakemake reads it, which would take a doubled key or a tag as it comes, and execute a template.
if workflow.is_main_process:
    try:
        for path in ["config.yaml", *workflow.overwrite_configfiles]:
            if Path(path).exists():
                configuration_file.read(path)
    except ValueError as error:
        raise WorkflowError(str(error)) from None


configfile: "config.yaml"


SCHEMA = yaml.safe_load(Path(workflow.source_path("../schemas/config.schema.yaml")).read_text())
WRITTEN = copy.deepcopy(config)

# From here on the configuration is the resolved one; a mistake in it ends in one message before any job.
try:
    # The machine that submits to a cluster need not have the GPU.
    config.update(resolve(config, SCHEMA, check_device=workflow.local_exec))
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


def own_contents(wildcards):
    """Digest of each of these files; a file put back from a backup differs in content, but has an old date."""
    return {path: hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in own_files(wildcards)}


def simulated(wildcards):
    """What a simulation depends on: the experiment without the list of what is measured on it."""
    experiment = config["experiments"][wildcards.experiment]
    return {key: value for key, value in experiment.items() if key != "measure"}


def stage_digest(stage, *entries):
    """Digest of the script of `stage` and of the library code that it uses; `entries`: modules that it loads by name.

    A function of the job, so that the Snakemake of a single job (on a cluster each has its own) works out one digest and no more.
    """

    @functools.cache
    def digest():
        try:
            return source_digest(Path(workflow.source_path(f"../scripts/{stage}.py")), *entries)
        except ValueError as error:
            raise WorkflowError(str(error)) from None

    return lambda wildcards: digest()


def gpus(wildcards):
    """GPUs of a simulation; one only where one is used, since this limits the number of jobs at a time."""
    device = config["device"]
    # The machine that submits to a cluster need not have the GPU.
    return int(device == "gpu" or device == "auto" and (cuda.available() or not workflow.local_exec))


def flow_memory(wildcards, attempt):
    """Memory of a simulation in MB, from N, replicates, d and stored clouds."""
    return attempt * cost.flow_memory_mib(simulated(wildcards), seed=config["seed"])


def flow_runtime(wildcards, threads, attempt):
    """Limit of a simulation's run time in minutes, a day at most."""
    minutes = cost.flow_minutes(simulated(wildcards), seed=config["seed"], gpu=gpus(wildcards) > 0, threads=threads)
    return min(attempt * minutes, 24 * 60)


def page_runtime(wildcards, attempt):
    """Limit of the run time of a figure or table in minutes; it takes seconds."""
    return 20 * attempt


def measure_memory(wildcards, attempt):
    """Memory of a measurement in MB, from the size of the stored flow."""
    return attempt * cost.measure_memory_mib(simulated(wildcards), seed=config["seed"])


def verification_jobs(wildcards):
    """The jobs of the configuration at the smoke scale."""
    try:
        smoke = resolve({**WRITTEN, "scale": "smoke"}, SCHEMA, check_device=False)
    except ValueError as error:
        raise WorkflowError(f"at the smoke scale: {error}") from None
    return verification.plan(smoke, MEASUREMENTS, EXPERIMENT_MEASUREMENTS, STUDIES)
