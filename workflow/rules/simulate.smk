rule simulate_flow:
    input:
        own_files,
    output:
        "<data>/flow/{experiment}.nc",
    log:
        "<logs>/simulate_flow/{experiment}.log",
    benchmark:
        "<benchmarks>/simulate_flow/{experiment}.tsv"
    conda:
        "../../envs/cpu.yaml"
    resources:
        gpu=gpus,
        mem_mb=flow_memory,
        runtime=flow_runtime,
        # Not a parameter: how often a simulation is kept is no reason to run it again.
        checkpoint_seconds=config["checkpoint"]["seconds"],
    params:
        experiment=simulated,
        seed=config["seed"],
        device=config["device"],
        files=own_contents,
        digest=stage_digest("simulate_flow"),
    script:
        "../scripts/simulate_flow.py"
