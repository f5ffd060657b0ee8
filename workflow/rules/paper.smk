import os

# Relative: a copy of the folder with its results has nothing to make again.
PAPER = Path(os.path.relpath(workflow.basedir)) / "workflow/paper"
CAPTIONS = Path(os.path.relpath(workflow.basedir)) / "workflow/report"


rule paper:
    input:
        claims="<results>/tables/claims.csv",
        tables=expand("<results>/tables/{table}.csv", table=[*TABLES, "runtime"]),
        figures=expand("<results>/figures/{figure}.svg", figure=[*FIGURES, "claims_overview"]),
        data=data_files(DATA),
        text=sorted(PAPER.glob("*.*")),
        captions=[
            *(CAPTIONS / f"{figure}.rst" for figure in [*FIGURES, "claims_overview"]),
            *(CAPTIONS / f"table_{table}.rst" for table in [*TABLES, "runtime"]),
        ],
    output:
        "<results>/paper.pdf",
        "<results>/paper.html",
    log:
        "<logs>/paper.log",
    benchmark:
        "<benchmarks>/paper.tsv"
    conda:
        "../../envs/cpu.yaml"
    params:
        figures=[*FIGURES, "claims_overview"],
        tables=[*TABLES, "runtime"],
        datasets=DATA,
        settings={"scale": config["scale"]},
        digest=stage_digest("paper"),
    script:
        "../scripts/paper.py"
