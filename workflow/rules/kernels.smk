rule tabulate_kernels:
    output:
        "<data>/kernels.nc",
    log:
        "<logs>/tabulate_kernels.log",
    benchmark:
        "<benchmarks>/tabulate_kernels.tsv"
    conda:
        "../../envs/cpu.yaml"
    params:
        kernels=config["kernels"],
        dimensions=config["kernel_dimensions"],
        digest=stage_digest("tabulate_kernels"),
    script:
        "../scripts/tabulate_kernels.py"
