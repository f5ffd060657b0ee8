# The resolved configuration, and what each chapter, table and figure is made from.

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


# What is measured on the stored flow of an experiment, on an experiment as configured, and on nothing but its own options.
MEASUREMENTS = {
    "entropy": "driftrates.entropy:measure_entropy",
    "observables": "driftrates.observables:measure_observables",
    "constants": "driftrates.quadrature:measure_constants",
    "occupancy": "driftrates.occupancy:measure_occupancy",
    "one_step": "driftrates.transport:measure_one_step",
    "rates": "driftrates.rates:measure_rates",
}
EXPERIMENT_MEASUREMENTS = {
    "propagation": "driftrates.occupancy:measure_propagation",
    "random_time": "driftrates.transport:measure_random_time",
}
STUDIES = {
    "growth": "driftrates.growth:growth_regimes",
    "failures": "driftrates.occupancy:measure_failures",
    "mass": "driftrates.occupancy:measure_mass",
}
MEASURED = [[measurement, name] for name, experiment in config["experiments"].items() for measurement in experiment["measure"]]
DATA = [
    *(f"flow/{name}" for name in config["experiments"]),
    *(f"fields/{name}" for name in config["field_maps"]),
    *("/".join(pair) for pair in MEASURED),
    *STUDIES,
    "kernels",
]


def measured(*measurements):
    """Names of the Datasets of some measurements, over all experiments that ask for them."""
    return ["/".join(pair) for pair in MEASURED if pair[0] in measurements]


FIGURE1 = ["conservative", "displacement", "score_laplace"]
IDENTITY = ["score", "displacement"]
ENTROPY = ["d1", "d2", "d3", "d5"]
LONG = ["long_d1", "long_d2"]
RATES = expand("rates/rates_{d}", d=ENTROPY)
DIGITS = expand("digits{d}_{field}", d=[2, 10], field=["conservative", "displacement", "sharp"])

CHAPTERS = {
    "foundations": [
        "kernels",
        "fields/figure1",
        *expand("flow/figure1_{field}", field=FIGURE1),
        *expand("flow/identity_{field}", field=IDENTITY),
    ],
    "entropy_budget": measured("entropy"),
    "conservative": [
        *measured("entropy", "observables", "constants", "rates", "one_step", "random_time"),
        "growth",
    ],
    "occupancy": [*measured("occupancy", "propagation", "rates"), "failures", "mass"],
    "beyond": [
        *measured("observables"),
        *expand("entropy/{name}", name=LONG),
        *expand("flow/entropy_{d}", d=ENTROPY),
        "growth",
    ],
}
TABLES = {
    "kernels": {"data": ["kernels"], "category": "Kernels"},
    "rate_exponents": {"data": RATES, "category": "Rates"},
    "constants": {"data": measured("constants"), "category": "Quadrature constants"},
    "growth_exponents": {"data": ["growth"], "category": "Quadrature constants"},
    "occupancy_failures": {"data": ["failures"], "category": "Occupancy"},
}
FIGURES = {
    "figure1": {
        "data": expand("flow/figure1_{field}", field=FIGURE1),
        "category": "Figure 1",
    },
    "figure1_maps": {
        "data": ["fields/figure1", *expand("flow/figure1_{field}", field=FIGURE1)],
        "category": "Figure 1",
    },
    "gaussian_identity": {
        "data": [
            *expand("flow/identity_{field}", field=IDENTITY),
            *expand("flow/identity_{field}_laplace", field=IDENTITY),
        ],
        "category": "Gaussian identity",
    },
    "kernel_profiles": {"data": ["kernels"], "category": "Kernels"},
    "entropy_budget": {
        "data": expand("entropy/entropy_{d}", d=ENTROPY),
        "category": "Entropy budget",
    },
    "digits": {"data": expand("flow/{name}", name=DIGITS), "category": "Digits"},
    "entropy_minimum": {"data": expand("entropy/{name}", name=LONG), "category": "Entropy budget"},
    "observables_time": {
        "data": expand("{kind}/entropy_{d}", kind=["flow", "observables"], d=ENTROPY),
        "category": "Entropy budget",
    },
    "rates": {"data": RATES, "category": "Rates"},
    "rate_maps": {"data": RATES, "category": "Rates"},
    "bandwidth_tradeoff": {"data": RATES, "category": "Rates"},
    "quadrature_constants": {
        "data": [
            *expand("constants/entropy_{d}", d=ENTROPY),
            *expand("constants/entropy_{d}", d=["data", "matern72", "multiquadric"]),
        ],
        "category": "Quadrature constants",
    },
    "growth": {"data": ["growth"], "category": "Quadrature constants"},
    "occupancy": {
        "data": ["failures", "mass", *expand("occupancy/entropy_{d}", d=ENTROPY)],
        "category": "Occupancy",
    },
    "propagation": {
        "data": expand("propagation/propagation_{d}", d=["d1", "d2"]),
        "category": "Occupancy",
    },
    "one_step": {
        "data": [
            *expand("one_step/entropy_{d}", d=ENTROPY),
            *expand("random_time/propagation_{d}", d=["d1", "d2"]),
        ],
        "category": "One step",
    },
}
RUNS = [
    *(["simulate_flow", name] for name in config["experiments"]),
    *(["map_fields", name] for name in config["field_maps"]),
    *([f"measure_{measurement}", name] for measurement, name in MEASURED),
    *([f"study_{study}"] for study in STUDIES),
    ["tabulate_kernels"],
    *(["judge_claims", chapter] for chapter in CHAPTERS),
    ["collect_claims"],
    *(["write_table", table] for table in TABLES),
    *(["plot_figure", figure] for figure in FIGURES),
]


def data_files(names):
    """Files of the Datasets `names`; each must belong to the configuration."""
    missing = sorted(set(names) - set(DATA))
    if missing:
        raise WorkflowError(
            f"configuration, experiments: {missing[0]} is made by no experiment or field map, but a chapter, table or figure of "
            "workflow/rules/common.smk needs it"
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
