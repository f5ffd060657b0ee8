import os


# How fast the kernel sums are: the committed table of benchmarks/sums.py beside a short run here. Times differ from run to run, and
# with them the bytes of this Dataset and of the figure `performance`.
rule study_performance:
    input:
        sorted(os.path.relpath(p) for p in Path(workflow.basedir).glob("benchmarks/results/*.csv")),
    output:
        "<data>/performance.nc",
    log:
        "<logs>/study_performance.log",
    benchmark:
        "<benchmarks>/study_performance.tsv"
    conda:
        "../../envs/cpu.yaml"
    # Other jobs at the same time would be measured with it.
    threads: workflow.cores
    params:
        options={"seed": config["seed"], **config["measurements"]["performance"]},
        digest=stage_digest("study_performance"),
    script:
        "../scripts/study_performance.py"
