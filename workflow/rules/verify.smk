import os

# Does this machine compute what the reference machine did? All experiments at the smoke scale, whatever the configured one.
MEASURED_BY = [*MEASUREMENTS.values(), *EXPERIMENT_MEASUREMENTS.values(), *STUDIES.values()]
REFERENCE = Path(os.path.relpath(workflow.basedir)) / "tests/reference/smoke.csv"


rule verify:
    input:
        REFERENCE,
    output:
        "<results>/verification.csv",
    log:
        "<logs>/verify.log",
    benchmark:
        "<benchmarks>/verify.tsv"
    conda:
        "../../envs/cpu.yaml"
    threads: workflow.cores
    params:
        jobs=verification_jobs,
        digest=stage_digest("verify", *MEASURED_BY),
    script:
        "../scripts/verify.py"


# For a change that is meant to change numbers: its output, once looked at, takes the place of REFERENCE.
rule reference:
    output:
        "<results>/reference.csv",
    log:
        "<logs>/reference.log",
    benchmark:
        "<benchmarks>/reference.tsv"
    conda:
        "../../envs/cpu.yaml"
    threads: workflow.cores
    params:
        jobs=verification_jobs,
        digest=stage_digest("reference", *MEASURED_BY),
    script:
        "../scripts/reference.py"
