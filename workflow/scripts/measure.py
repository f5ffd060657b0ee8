import importlib

from _stage import run, write_dataset

from driftrates import store


def main(snakemake):
    params = snakemake.params
    module, name = params.function.split(":")
    subject = [store.read(snakemake.input[0])] if snakemake.input else [params.experiment] if "experiment" in params.keys() else []
    measured = getattr(importlib.import_module(module), name)(*subject, **params.options)
    write_dataset(measured, snakemake, " ".join([snakemake.rule.replace("_", " "), *snakemake.wildcards]))


run(main, snakemake)  # noqa: F821
