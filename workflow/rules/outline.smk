# What each chapter, table and figure is made from.

# What is measured on the stored flow of an experiment, on an experiment as configured, and on nothing but its own options.
MEASUREMENTS = {
    "entropy": "driftrates.measurements.entropy:measure_entropy",
    "observables": "driftrates.measurements.observables:measure_observables",
    "constants": "driftrates.measurements.quadrature:measure_constants",
    "occupancy": "driftrates.measurements.occupancy:measure_occupancy",
    "one_step": "driftrates.measurements.transport:measure_one_step",
    "rates": "driftrates.measurements.rates:measure_rates",
    "coercivity": "driftrates.laplace.coercivity:measure_coercivity",
}
EXPERIMENT_MEASUREMENTS = {
    "propagation": "driftrates.measurements.occupancy:measure_propagation",
    "random_time": "driftrates.measurements.transport:measure_random_time",
}
STUDIES = {
    "growth": "driftrates.measurements.growth:growth_regimes",
    "integrators": "driftrates.performance.integrators:measure_integrators",
    "failures": "driftrates.measurements.occupancy:measure_failures",
    "mass": "driftrates.measurements.occupancy:measure_mass",
    "decomposition": "driftrates.laplace.decomposition:measure_decomposition",
    "mismatch": "driftrates.laplace.mismatch:measure_mismatch",
    "ejections": "driftrates.laplace.ejection:measure_ejections",
    "regularised": "driftrates.laplace.regularised:measure_regularised",
    "laplace_rates": "driftrates.laplace.rates:measure_laplace_rates",
    "method_comparison": "driftrates.laplace.comparison:measure_comparison",
    "spectra": "driftrates.spectral.mean_field:measure_spectra",
    "torus_particles": "driftrates.spectral.particles:measure_particles",
    "hermite": "driftrates.spectral.hermite:measure_hermite",
    "annealing": "driftrates.spectral.annealing:measure_annealing",
    "gradient_flows": "driftrates.variational.smoothed_kl:measure_gradient_flows",
    "stop_gradient": "driftrates.variational.full_gradient:measure_stop_gradient",
    "baselines": "driftrates.baselines.comparison:check_baselines",
    "field_comparison": "driftrates.baselines.comparison:compare_fields",
    "regression": "driftrates.training.regression:measure_regression",
    "training_errors": "driftrates.training.errors:measure_training_errors",
    "generators_swiss_roll": "driftrates.training.generator:train_generators",
    "generators_checkerboard": "driftrates.training.generator:train_generators",
    "generators_eight_gaussians": "driftrates.training.generator:train_generators",
    "generators_digits": "driftrates.training.generator:train_generators",
}
MEASURED = [[measurement, name] for name, experiment in config["experiments"].items() for measurement in experiment["measure"]]
DATA = [
    *(f"flow/{name}" for name in config["experiments"]),
    *(f"fields/{name}" for name in config["field_maps"]),
    *("/".join(pair) for pair in MEASURED),
    *STUDIES,
    "kernels",
    "performance",
]


def measured(*measurements, fields=("conservative", "displacement", "sharp")):
    """Names of the Datasets of some measurements, over all experiments with one of the fields that ask for them."""
    having = [name for name, experiment in config["experiments"].items() if experiment["field"] in fields]
    return [f"{measurement}/{name}" for measurement, name in MEASURED if measurement in measurements and name in having]


FIGURE1 = ["conservative", "displacement", "score_laplace"]
IDENTITY = ["score", "displacement"]
ENTROPY = ["d1", "d2", "d3", "d5"]
LONG = ["long_d1", "long_d2"]
COERCIVITY = expand("{kind}/laplace_{d}", kind=["coercivity", "entropy"], d=ENTROPY)
RATES = expand("rates/rates_{d}", d=ENTROPY)
LARGE = expand("rates/rates_large_{d}", d=["d1", "d2"])
DIGITS = expand("digits{d}_{field}", d=[2, 10], field=["conservative", "displacement", "sharp"])
GENERATORS = expand("generators_{data}", data=["swiss_roll", "checkerboard", "eight_gaussians", "digits"])

CHAPTERS = {
    "foundations": [
        "kernels",
        "fields/figure1",
        *expand("flow/figure1_{field}", field=FIGURE1),
        *expand("flow/identity_{field}", field=IDENTITY),
    ],
    "entropy_budget": measured("entropy", fields=["conservative"]),
    "conservative": [
        *measured("entropy", "observables", "constants", "rates", "one_step", "random_time", fields=["conservative"]),
        "growth",
    ],
    "occupancy": [*measured("occupancy", "propagation", "rates"), "failures", "mass"],
    "beyond": [
        *measured("observables"),
        *expand("entropy/{name}", name=LONG),
        *expand("flow/entropy_{d}", d=ENTROPY),
        "growth",
    ],
    "laplace_field": ["decomposition"],
    "laplace_entropy": measured("entropy", fields=["displacement", "sharp"]),
    "coercivity": COERCIVITY,
    "laplace_residual": ["mismatch", "ejections"],
    "regularised": ["regularised"],
    "laplace_rates": ["laplace_rates", "method_comparison"],
    "spectral": ["spectra", "torus_particles", "hermite"],
    "annealing": ["annealing"],
    "variational": ["gradient_flows", "stop_gradient"],
    "baselines": ["baselines", "field_comparison"],
    "training": ["regression", "training_errors", *GENERATORS],
}
TABLES = {
    "kernels": {"module": "conservative", "data": ["kernels"], "category": "Kernels"},
    "rate_exponents": {"module": "conservative", "data": RATES + LARGE, "category": "Rates"},
    "constants": {"module": "conservative", "data": measured("constants"), "category": "Quadrature constants"},
    "growth_exponents": {"module": "conservative", "data": ["growth"], "category": "Quadrature constants"},
    "occupancy_failures": {"module": "conservative", "data": ["failures"], "category": "Occupancy"},
    "laplace_constants": {"module": "laplace", "data": COERCIVITY, "category": "Laplace bound"},
    "laplace_rate_exponents": {"module": "comparison", "data": ["laplace_rates"], "category": "Laplace rates"},
    "method_comparison": {"module": "comparison", "data": ["method_comparison"], "category": "Laplace rates"},
    "spectral_rates": {
        "module": "spectral",
        "data": ["spectra", "torus_particles"],
        "category": "Spectra",
    },
    "convergence_times": {"module": "annealing", "data": ["annealing"], "category": "Annealing"},
    "annealing_winners": {"module": "annealing", "data": ["annealing"], "category": "Annealing"},
    "field_comparison": {"module": "baselines", "data": ["field_comparison"], "category": "Baselines"},
    "integrator_exponents": {"module": "integrators", "data": ["integrators"], "category": "Integrators"},
    "generator_quality": {"module": "training", "data": GENERATORS, "category": "Training"},
    "peers": {"module": "performance", "data": ["performance"], "category": "Cost"},
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
    "digits": {"data": expand("flow/{name}", name=DIGITS), "category": "Digits"},
    "entropy_budget": {
        "data": expand("entropy/entropy_{d}", d=ENTROPY),
        "category": "Entropy budget",
    },
    "entropy_minimum": {"data": expand("entropy/{name}", name=LONG), "category": "Entropy budget"},
    "observables_time": {
        "data": expand("{kind}/entropy_{d}", kind=["flow", "observables"], d=ENTROPY),
        "category": "Entropy budget",
    },
    "rates": {"data": RATES, "category": "Rates"},
    "rate_maps": {"data": RATES, "category": "Rates"},
    "bandwidth_tradeoff": {"data": RATES, "category": "Rates"},
    "rates_large": {
        "data": [*expand("rates/rates_{d}", d=["d1", "d2"]), *LARGE],
        "category": "Rates",
    },
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
    "laplace_decomposition": {"data": ["decomposition"], "category": "Laplace field"},
    "laplace_curl": {"data": ["decomposition"], "category": "Laplace field"},
    "laplace_entropy": {
        "data": expand("entropy/laplace_{d}", d=ENTROPY),
        "category": "Laplace entropy",
    },
    "coercivity": {"data": expand("coercivity/laplace_{d}", d=ENTROPY), "category": "Laplace bound"},
    "laplace_bound": {"data": COERCIVITY, "category": "Laplace bound"},
    "laplace_residual": {"data": ["mismatch"], "category": "Laplace residual"},
    "ejections": {"data": ["ejections"], "category": "Laplace residual"},
    "regularised": {"data": ["regularised"], "category": "Laplace bound"},
    "laplace_rates": {"data": ["laplace_rates"], "category": "Laplace rates"},
    "laplace_comparison": {"data": ["method_comparison"], "category": "Laplace rates"},
    "spectra": {"data": ["spectra", "torus_particles"], "category": "Spectra"},
    "identifiability": {"data": ["spectra"], "category": "Spectra"},
    "hermite_spectrum": {"data": ["hermite"], "category": "Spectra"},
    "annealing": {"data": ["annealing"], "category": "Annealing"},
    "gradient_flows": {"data": ["gradient_flows"], "category": "Variational form"},
    "stop_gradient": {"data": ["stop_gradient"], "category": "Variational form"},
    "mode_coverage": {"data": ["field_comparison"], "category": "Baselines"},
    "affinity_floor": {"data": ["baselines"], "category": "Baselines"},
    "training_errors": {"data": ["training_errors"], "category": "Training"},
    "generators": {"data": GENERATORS, "category": "Training"},
    "integrators": {"data": ["integrators"], "category": "Integrators"},
    "generated_digits": {"data": ["generators_digits"], "category": "Training"},
    "performance": {"data": ["performance"], "category": "Cost"},
}
RUNS = [
    *(["simulate_flow", name] for name in config["experiments"]),
    *(["map_fields", name] for name in config["field_maps"]),
    *([f"measure_{measurement}", name] for measurement, name in MEASURED),
    *([f"study_{study}"] for study in STUDIES),
    ["study_performance"],
    ["tabulate_kernels"],
    *(["judge_claims", chapter] for chapter in CHAPTERS),
    ["collect_claims"],
    *(["write_table", table] for table in TABLES),
    *(["plot_figure", figure] for figure in FIGURES),
    ["claims_overview"],
]
# The Datasets that each of these runs reads, where it reads any.
NEEDS = {
    **{f"measure_{measurement} {name}": [f"flow/{name}"] for measurement, name in MEASURED if measurement in MEASUREMENTS},
    **{f"map_fields {name}": [f"flow/{e}" for e in entry["experiments"]] for name, entry in config["field_maps"].items()},
    **{f"judge_claims {chapter}": names for chapter, names in CHAPTERS.items()},
    "collect_claims": [f"claims/{chapter}" for chapter in CHAPTERS],
    "plot_figure claims_overview": [f"claims/{chapter}" for chapter in CHAPTERS],
    **{f"write_table {table}": entry["data"] for table, entry in TABLES.items()},
    **{f"plot_figure {figure}": entry["data"] for figure, entry in FIGURES.items()},
}
