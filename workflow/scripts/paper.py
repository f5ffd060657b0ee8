from pathlib import Path

from _stage import run

from driftrates.paper import Results, assemble, write_html, write_pdf


def main(snakemake):
    given, params = snakemake.input, snakemake.params
    text, captions, figures = (Path(files[0]).parent for files in (given.text, given.captions, given.figures))
    results = Results.read(
        given.claims, dict(zip(params.tables, given.tables, strict=True)), dict(zip(params.datasets, given.data, strict=True))
    )
    document = assemble(results, text=text, captions=captions, figures=params.figures, tables=params.tables, settings=dict(params.settings))
    write_pdf(document, snakemake.output[0], template=text / "paper.typ", figures=figures)
    write_html(document, snakemake.output[1], template=text / "paper.html", style=text / "paper.css", figures=figures)


run(main, snakemake)  # noqa: F821
