"""The paper as one HTML file without any other: text, tables, figures as images inside."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2

from driftrates.paper import markup
from driftrates.paper.document import Document
from driftrates.store import replacing

_ELEMENTS = {"strong": "strong", "emph": "em", "sub": "sub", "super": "sup", "code": "code", "math": "i"}
_PLAIN = " '/:;=,+-()!*$@&?~"
"""Characters of an SVG file that may stand as they are in an address."""


def write_html(document: Document, path: str | Path, *, template: Path, style: Path, figures: Path) -> None:
    """Write ``document`` with the Jinja file ``template``, the style sheet ``style`` and the files name.svg of ``figures``.

    Raises ``ValueError`` where a figure is missing, and ``OSError`` where ``path`` cannot be written.
    """
    pages = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    pages.filters |= {"inline": inline, "plain": markup.plain}
    images = {name: image(figures / f"{name}.svg") for name in document.figures}
    page = pages.from_string(template.read_text(encoding="utf-8"))
    content = page.render(document=document, images=images, style=style.read_text(encoding="utf-8"))
    with replacing(path) as temporary:
        temporary.write_text(content, encoding="utf-8")


def inline(children: list[markup.Inline]) -> str:
    """Inline elements of `markup` as HTML."""
    return "".join(_element(child) for child in children)


def _element(child: str | dict[str, Any]) -> str:
    if isinstance(child, str):
        return html.escape(child, quote=False)
    inner = inline(child["children"])
    if child["tag"] == "link":
        return f'<a href="{html.escape(child["target"])}">{inner}</a>'
    element = _ELEMENTS[child["tag"]]
    return f"<{element}>{inner}</{element}>"


def image(svg: Path) -> str:
    """Address of an image that holds the whole SVG file, coordinates of paths to a hundredth of a point.

    Raises ``ValueError`` if there is no such file.
    """
    if not svg.is_file():
        raise ValueError(f"{svg}: no such figure; the workflow makes it")
    text = svg.read_text(encoding="utf-8")
    text = re.sub(r"<\?xml.*?\?>|<!DOCTYPE.*?>|<!--.*?-->|<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'(?<= d=")[^"]*', _rounded, re.sub(r"\s+", " ", text).replace("> <", "><"))
    return "data:image/svg+xml," + quote(text.replace('"', "'"), safe=_PLAIN)


def _rounded(path: re.Match[str]) -> str:
    return re.sub(r"-?\d+\.\d{3,}", lambda m: f"{float(m[0]):.2f}".rstrip("0").rstrip("."), path[0]).strip()
