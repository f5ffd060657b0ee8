import os

# Relative: a copy of the folder with its results has nothing to make again.
PAPER = Path(os.path.relpath(workflow.basedir)) / "workflow/paper"
CAPTIONS = Path(os.path.relpath(workflow.basedir)) / "workflow/report"

PAPER_FIGURES = [*FIGURES, "claims_overview"]
PAPER_TABLES = [*TABLES, "runtime"]

# What the text is made of; the figures are drawings beside it.
PAPER_INPUT = {
    "claims": "<results>/tables/claims.csv",
    "tables": expand("<results>/tables/{table}.csv", table=PAPER_TABLES),
    "data": data_files(DATA),
    "text": sorted(PAPER.glob("*.*")),
    "captions": [
        *(CAPTIONS / f"{figure}.rst" for figure in PAPER_FIGURES),
        *(CAPTIONS / f"table_{table}.rst" for table in PAPER_TABLES),
    ],
}


rule paper:
    input:
        **PAPER_INPUT,
        figures=expand("<results>/figures/{figure}.svg", figure=PAPER_FIGURES),
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
        figures=PAPER_FIGURES,
        tables=PAPER_TABLES,
        datasets=DATA,
        settings={"scale": config["scale"]},
        digest=stage_digest("paper"),
    script:
        "../scripts/paper.py"


rule findings:
    input:
        **PAPER_INPUT,
    output:
        "docs/findings.md",
    log:
        "<logs>/findings.log",
    benchmark:
        "<benchmarks>/findings.tsv"
    conda:
        "../../envs/cpu.yaml"
    params:
        figures=PAPER_FIGURES,
        tables=PAPER_TABLES,
        datasets=DATA,
        settings={"scale": config["scale"]},
        digest=stage_digest("findings"),
    script:
        "../scripts/findings.py"
