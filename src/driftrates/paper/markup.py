"""reStructuredText of text and captions, read by docutils, as plain data that PDF and HTML are laid out from.

An inline element is a string or ``{"tag": .., "children": [..]}`` with one of `TAGS`, a ``link`` also with its ``target``.
A block is ``{"kind": "paragraph" | "heading", "children": [..]}`` or ``{"kind": "list", "items": [[inline, ..], ..]}``.
"""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from docutils.core import publish_doctree
from docutils.utils import SystemMessage

Inline = str | dict[str, Any]

TAGS = {
    nodes.strong: "strong",
    nodes.emphasis: "emph",
    nodes.subscript: "sub",
    nodes.superscript: "super",
    nodes.literal: "code",
    nodes.title_reference: "math",
}
"""Inline elements; the default role is for formulas."""

_SETTINGS = {"report_level": 2, "halt_level": 2, "warning_stream": False, "doctitle_xform": False, "smart_quotes": False}


def read(text: str, source: str = "<text>") -> list[dict[str, Any]]:
    """The blocks of ``text``. Raises ``ValueError`` that names ``source`` for markup that is faulty or not used here."""
    try:
        tree = publish_doctree(text, source_path=source, settings_overrides=_SETTINGS)
    except SystemMessage as error:
        raise ValueError(f"{source}: {' '.join(str(error).split())}") from error
    return [block for node in tree.children for block in _blocks(node, source)]


def plain(children: list[Inline]) -> str:
    """The words of inline elements."""
    return "".join(child if isinstance(child, str) else plain(child["children"]) for child in children)


def links(block: dict[str, Any]) -> list[str]:
    """Targets of the links of a block, in order."""
    inlines = [i for item in block["items"] for i in item] if block["kind"] == "list" else block["children"]
    return [target for inline in inlines for target in _targets(inline)]


def _targets(inline: Inline) -> list[str]:
    if isinstance(inline, str):
        return []
    own = [inline["target"]] if inline["tag"] == "link" else []
    return own + [target for child in inline["children"] for target in _targets(child)]


def _blocks(node: nodes.Node, source: str) -> list[dict[str, Any]]:
    match node:
        case nodes.section():
            return [block for child in node.children for block in _blocks(child, source)]
        case nodes.title():
            return [{"kind": "heading", "children": _inlines(node, source)}]
        case nodes.paragraph():
            return [{"kind": "paragraph", "children": _inlines(node, source)}]
        case nodes.bullet_list() | nodes.enumerated_list():
            return [{"kind": "list", "items": [[i for child in item.children for i in _inlines(child, source)] for item in node.children]}]
        case nodes.comment():
            return []
    raise ValueError(f"{source}: {node.tagname} is not used in the text of the paper")


def _inlines(node: nodes.Element, source: str) -> list[Inline]:
    return [_inline(child, source) for child in node.children]


def _inline(node: nodes.Node, source: str) -> Inline:
    if isinstance(node, nodes.Text):
        return re.sub(r"(?<=\w)'(?=\w)", "’", re.sub(r"\s+", " ", node.astext()))
    if isinstance(node, nodes.reference):
        return {"tag": "link", "target": node["refuri"], "children": _inlines(node, source)}
    if type(node) not in TAGS:
        raise ValueError(f"{source}: {node.tagname} is not used in the text of the paper")
    return {"tag": TAGS[type(node)], "children": _inlines(node, source)}
