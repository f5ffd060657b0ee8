rule judge_claims:
    input:
        lambda wildcards: data_files(CHAPTERS[wildcards.chapter]),
    output:
        "<data>/claims/{chapter}.csv",
    log:
        "<logs>/judge_claims/{chapter}.log",
    benchmark:
        "<benchmarks>/judge_claims/{chapter}.tsv"
    wildcard_constraints:
        chapter="|".join(CHAPTERS),
    conda:
        "../../envs/cpu.yaml"
    params:
        chapter="{chapter}",
        names=lambda wildcards: CHAPTERS[wildcards.chapter],
        digest=lambda wildcards: stage_digest("judge_claims", f"driftrates.claims.{wildcards.chapter}")(wildcards),
    script:
        "../scripts/judge_claims.py"


rule collect_claims:
    input:
        expand("<data>/claims/{chapter}.csv", chapter=CHAPTERS),
    output:
        report(
            "<results>/tables/claims.csv",
            caption="../report/table_claims.rst",
            category="Claims",
            labels={"table": "claims"},
        ),
        "<results>/tables/claims.md",
        "<results>/tables/claims.tex",
    log:
        "<logs>/collect_claims.log",
    benchmark:
        "<benchmarks>/collect_claims.tsv"
    conda:
        "../../envs/cpu.yaml"
    params:
        digest=stage_digest("collect_claims"),
    script:
        "../scripts/collect_claims.py"


rule claims:
    input:
        rules.collect_claims.output,
