from pathlib import Path

from _stage import run

from driftrates.paper import Results, assemble, write_findings


def main(snakemake):
    given, params = snakemake.input, snakemake.params
    text, captions = (Path(files[0]).parent for files in (given.text, given.captions))
    results = Results.read(
        given.claims, dict(zip(params.tables, given.tables, strict=True)), dict(zip(params.datasets, given.data, strict=True))
    )
    document = assemble(results, text=text, captions=captions, figures=params.figures, tables=params.tables, settings=dict(params.settings))
    write_findings(document, snakemake.output[0], pictures=params.figures)


run(main, snakemake)  # noqa: F821
