# One rule per table, named like it, because a caption belongs to a rule: `snakemake kernels` makes that table alone.
for table, entry in TABLES.items():

    rule:
        name:
            table
        input:
            data_files(entry["data"]),
        output:
            report(
                f"<results>/tables/{table}.csv",
                caption=f"../report/table_{table}.rst",
                category=entry["category"],
                labels={"table": table},
            ),
            f"<results>/tables/{table}.md",
            f"<results>/tables/{table}.tex",
        log:
            f"<logs>/write_table/{table}.log",
        benchmark:
            f"<benchmarks>/write_table/{table}.tsv"
        group:
            "pages"
        conda:
            "../../envs/cpu.yaml"
        resources:
            # The limits of a group add up, and must fit into what a partition allows.
            runtime=page_runtime,
        params:
            function=f"driftrates.tables.{entry['module']}:{table}",
            names=entry["data"],
            digest=stage_digest("write_table", f"driftrates.tables.{entry['module']}:{table}"),
        script:
            "../scripts/write_table.py"


rule tabulate_runtime:
    input:
        benchmarks=[f"<benchmarks>/{'/'.join(run)}.tsv" for run in RUNS],
        flows=expand("<data>/flow/{name}.nc", name=config["experiments"]),
    output:
        report(
            "<results>/tables/runtime.csv",
            caption="../report/table_runtime.rst",
            category="Cost",
            labels={"table": "runtime"},
        ),
        "<results>/tables/runtime.md",
        "<results>/tables/runtime.tex",
    log:
        "<logs>/tabulate_runtime.log",
    benchmark:
        "<benchmarks>/tabulate_runtime.tsv"
    conda:
        "../../envs/cpu.yaml"
    params:
        runs=RUNS,
        experiments=list(config["experiments"]),
        digest=stage_digest("tabulate_runtime"),
    script:
        "../scripts/tabulate_runtime.py"


rule runtime:
    input:
        rules.tabulate_runtime.output,


rule tabulate_schedule:
    input:
        benchmarks=[f"<benchmarks>/{'/'.join(run)}.tsv" for run in RUNS],
        flows=expand("<data>/flow/{name}.nc", name=config["experiments"]),
    output:
        report(
            "<results>/tables/schedule.csv",
            caption="../report/table_schedule.rst",
            category="Cost",
            labels={"table": "schedule"},
        ),
        "<results>/tables/schedule.md",
        "<results>/tables/schedule.tex",
    log:
        "<logs>/tabulate_schedule.log",
    benchmark:
        "<benchmarks>/tabulate_schedule.tsv"
    conda:
        "../../envs/cpu.yaml"
    params:
        runs=RUNS,
        needs=NEEDS,
        small=config,
        large=lambda wildcards: resolve({**WRITTEN, "scale": "full"}, SCHEMA, check_device=False),
        digest=stage_digest("tabulate_schedule"),
    script:
        "../scripts/tabulate_schedule.py"


rule schedule:
    input:
        rules.tabulate_schedule.output,


rule tables:
    input:
        expand(
            "<results>/tables/{table}.{suffix}",
            table=[*TABLES, "claims", "runtime"],
            suffix=["csv", "md", "tex"],
        ),
