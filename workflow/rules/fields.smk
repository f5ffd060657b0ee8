rule map_fields:
    input:
        lambda wildcards: expand(
            "<data>/flow/{name}.nc",
            name=config["field_maps"][wildcards.map]["experiments"],
        ),
    output:
        "<data>/fields/{map}.nc",
    log:
        "<logs>/map_fields/{map}.log",
    benchmark:
        "<benchmarks>/map_fields/{map}.tsv"
    conda:
        "../../envs/cpu.yaml"
    params:
        spec=lookup("field_maps/{map}", within=config),
        digest=stage_digest("map_fields"),
    script:
        "../scripts/map_fields.py"
