import os


rule documentation:
    input:
        Path(os.path.relpath(workflow.basedir)) / "workflow/schemas/config.schema.yaml",
    output:
        "docs/configuration.md",
    log:
        "<logs>/documentation.log",
    benchmark:
        "<benchmarks>/documentation.tsv"
    conda:
        "../../envs/cpu.yaml"
    params:
        digest=stage_digest("documentation"),
    script:
        "../scripts/documentation.py"
