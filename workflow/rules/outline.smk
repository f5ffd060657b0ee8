# What each chapter, table and figure is made from.

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
    "kernels": {"module": "conservative", "data": ["kernels"], "category": "Kernels"},
    "rate_exponents": {"module": "conservative", "data": RATES, "category": "Rates"},
    "constants": {"module": "conservative", "data": measured("constants"), "category": "Quadrature constants"},
    "growth_exponents": {"module": "conservative", "data": ["growth"], "category": "Quadrature constants"},
    "occupancy_failures": {"module": "conservative", "data": ["failures"], "category": "Occupancy"},
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
