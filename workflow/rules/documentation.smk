rule documentation:
    input:
        Path(workflow.basedir) / "workflow/schemas/config.schema.yaml",
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
