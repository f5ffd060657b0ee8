"""The paper as PDF, typeset by Typst from a template that reads the document as JSON."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from pathlib import Path

import matplotlib
import typst

from driftrates.paper.document import Document
from driftrates.store import replacing


def write_pdf(document: Document, path: str | Path, *, template: Path, figures: Path) -> None:
    """Typeset ``document`` with the Typst file ``template`` and the files name.svg of ``figures``; equal input gives equal bytes.

    Nothing is fetched: the template imports no package, and the fonts are those inside Typst and those of matplotlib. Raises
    ``ValueError`` where a figure is missing or the template is faulty, and ``OSError`` where ``path`` cannot be written.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        widths = {}
        for name in document.figures:
            source = figures / f"{name}.svg"
            if not source.is_file():
                raise ValueError(f"{source}: no such figure; the workflow makes it")
            shutil.copyfile(source, root / source.name)
            widths[name] = width_of(source)
        (root / "paper.json").write_text(json.dumps({**document.data(), "widths": widths}), encoding="utf-8")
        shutil.copyfile(template, root / "paper.typ")
        fonts = Path(matplotlib.get_data_path()) / "fonts/ttf"
        try:
            content = typst.compile(root / "paper.typ", root=root, font_paths=[fonts], ignore_system_fonts=True, format="pdf")
        except typst.TypstError as error:
            raise ValueError(f"{template}: {error}") from error
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def width_of(svg: Path) -> float:
    """Width of an SVG file in points. Raises ``ValueError`` for a file that does not say so."""
    found = re.search(r"<svg\b[^>]*\bwidth=\"([\d.]+)pt\"", svg.read_text(encoding="utf-8")[:4000])
    if not found:
        raise ValueError(f"{svg} has no width in points; remove it and run the workflow again")
    return float(found[1])
