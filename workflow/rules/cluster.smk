# What surrounds a run on a cluster: `snakemake preflight` before it, `snakemake recover --nolock` after a killed one.


localrules:
    preflight,
    recover,


rule preflight:
    log:
        "<logs>/preflight.log",
    conda:
        "../../envs/cpu.yaml"
    params:
        python=sys.executable,
        needs=lambda wildcards: cost.largest(config["experiments"], seed=config["seed"], gpu=config["device"] != "cpu"),
        disk=lambda wildcards: cost.disk_mib(config["experiments"], seed=config["seed"]),
    shell:
        "{params.python:q} -m driftrates.pipeline.cluster preflight {params.needs} --disk {params.disk} 2>&1 | tee {log}"


rule recover:
    log:
        "<logs>/recover.log",
    conda:
        "../../envs/cpu.yaml"
    params:
        python=sys.executable,
    shell:
        "{params.python:q} -m driftrates.pipeline.cluster recover 2>&1 | tee {log}"
