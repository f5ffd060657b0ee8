from pathlib import Path

from _stage import run

from driftrates import store
from driftrates.paper import Results, assemble, write_html, write_pdf


def main(snakemake):
    given, params = snakemake.input, snakemake.params
    text, captions, figures = (Path(files[0]).parent for files in (given.text, given.captions, given.figures))
    results = Results(
        store.read_csv(given.claims),
        {name: store.read_csv(path) for name, path in zip(params.tables, given.tables, strict=True)},
        {name: store.attributes(path) for name, path in zip(params.datasets, given.data, strict=True)},
    )
    document = assemble(results, text=text, captions=captions, figures=params.figures, tables=params.tables, settings=dict(params.settings))
    write_pdf(document, snakemake.output[0], template=text / "paper.typ", figures=figures)
    write_html(document, snakemake.output[1], template=text / "paper.html", style=text / "paper.css", figures=figures)


run(main, snakemake)  # noqa: F821
