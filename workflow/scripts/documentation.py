from pathlib import Path

import yaml
from _stage import run

from driftrates.pipeline.documentation import configuration_page
from driftrates.store import replacing


def main(snakemake):
    schema = yaml.safe_load(Path(snakemake.input[0]).read_text(encoding="utf-8"))
    with replacing(snakemake.output[0]) as temporary:
        temporary.write_text(configuration_page(schema), encoding="utf-8")


run(main, snakemake)  # noqa: F821
