from _stage import run, write_dataset

from driftrates import store
from driftrates.fieldmaps import map_fields


def main(snakemake):
    spec = snakemake.params.spec
    flows = {name: store.read(path) for name, path in zip(spec["experiments"], snakemake.input, strict=True)}
    write_dataset(map_fields(spec, flows), snakemake, f"Maps of frozen fields: {snakemake.wildcards.map}")


run(main, snakemake)  # noqa: F821
