# One rule per measurement: `measure_entropy` makes <data>/entropy/{experiment}.nc from the stored flow of an experiment
# that asks for it (key `measure`), `study_growth` makes <data>/growth.nc from its options alone.
for measurement, function in MEASUREMENTS.items():

    rule:
        name:
            f"measure_{measurement}"
        input:
            "<data>/flow/{experiment}.nc",
        output:
            f"<data>/{measurement}/{{experiment}}.nc",
        log:
            f"<logs>/measure_{measurement}/{{experiment}}.log",
        benchmark:
            f"<benchmarks>/measure_{measurement}/{{experiment}}.tsv"
        conda:
            "../../envs/cpu.yaml"
        resources:
            mem_mb=measure_memory,
        params:
            function=function,
            options=config["measurements"][measurement],
            digest=stage_digest("measure", function),
        script:
            "../scripts/measure.py"


for measurement, function in EXPERIMENT_MEASUREMENTS.items():

    rule:
        name:
            f"measure_{measurement}"
        output:
            f"<data>/{measurement}/{{experiment}}.nc",
        log:
            f"<logs>/measure_{measurement}/{{experiment}}.log",
        benchmark:
            f"<benchmarks>/measure_{measurement}/{{experiment}}.tsv"
        conda:
            "../../envs/cpu.yaml"
        resources:
            mem_mb=measure_memory,
        params:
            function=function,
            experiment=simulated,
            files=own_contents,
            options={"seed": config["seed"], **config["measurements"][measurement]},
            digest=stage_digest("measure", function),
        script:
            "../scripts/measure.py"


for study, function in STUDIES.items():

    rule:
        name:
            f"study_{study}"
        output:
            f"<data>/{study}.nc",
        log:
            f"<logs>/study_{study}.log",
        benchmark:
            f"<benchmarks>/study_{study}.tsv"
        conda:
            "../../envs/cpu.yaml"
        params:
            function=function,
            options={"seed": config["seed"], **config["measurements"][study]},
            digest=stage_digest("measure", function),
        script:
            "../scripts/measure.py"
