# One rule per figure, named like it, because a caption belongs to a rule: `snakemake figure1` makes that figure alone.
for figure, entry in FIGURES.items():

    rule:
        name:
            figure
        input:
            data_files(entry["data"]),
        output:
            report(
                f"<results>/figures/{figure}.svg",
                caption=f"../report/{figure}.rst",
                category=entry["category"],
                labels={"figure": figure},
            ),
            f"<results>/figures/{figure}.pdf",
            f"<results>/figures/{figure}.png",
        log:
            f"<logs>/plot_figure/{figure}.log",
        benchmark:
            f"<benchmarks>/plot_figure/{figure}.tsv"
        group:
            "pages"
        conda:
            "../../envs/cpu.yaml"
        resources:
            # The limits of a group add up, and must fit into what a partition allows.
            runtime=page_runtime,
        params:
            figure=figure,
            names=entry["data"],
            digest=stage_digest("plot_figure", f"driftrates.figures.{figure}:plot"),
        script:
            "../scripts/plot_figure.py"


rule claims_overview:
    input:
        "<results>/tables/claims.csv",
    output:
        report(
            "<results>/figures/claims_overview.svg",
            caption="../report/claims_overview.rst",
            category="Claims",
            labels={"figure": "claims_overview"},
        ),
        "<results>/figures/claims_overview.pdf",
        "<results>/figures/claims_overview.png",
    log:
        "<logs>/claims_overview.log",
    benchmark:
        "<benchmarks>/claims_overview.tsv"
    conda:
        "../../envs/cpu.yaml"
    params:
        digest=stage_digest("claims_overview"),
    script:
        "../scripts/claims_overview.py"


rule figures:
    input:
        expand(
            "<results>/figures/{figure}.{suffix}",
            figure=[*FIGURES, "claims_overview"],
            suffix=["pdf", "svg", "png"],
        ),


rule gallery:
    input:
        # The page that shows them, so that both are of one run.
        "docs/findings.md",
        pictures=expand("<results>/figures/{figure}.png", figure=[*FIGURES, "claims_overview"]),
    output:
        expand("docs/figures/{figure}.png", figure=[*FIGURES, "claims_overview"]),
    log:
        "<logs>/gallery.log",
    conda:
        "../../envs/cpu.yaml"
    shell:
        "cp {input.pictures} docs/figures/ 2> {log}"
