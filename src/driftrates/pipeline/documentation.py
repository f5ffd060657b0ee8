"""The page of all configuration keys, made from the schema that checks them."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from driftrates import datasets, kernels

_LIMITS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
}
_NAMED = ("name", "parameters and their defaults", "meaning")
_COLUMNS = ("key", "type", "allowed", "default", "meaning")


def configuration_page(schema: Mapping[str, Any]) -> str:
    """Markdown: a row per key of the JSON schema ``schema`` (local references followed), nested keys as ``a.b``; the known names.

    ``a.<name>`` stands for any name, ``a[]`` for an item of a list, ``a|b`` for alternatives. A required key has no default.
    """
    lines = [f"# {schema['title']}", "", schema["description"], ""]
    lines += ["This page is made from `workflow/schemas/config.schema.yaml` by `snakemake documentation`.", ""]
    for section, part in schema["properties"].items():
        lines += _table(f"`{section}`", _COLUMNS, list(_rows(section, part, section in schema.get("required", ()), schema)))
    known = [datasets.describe(name) for name in datasets.NAMES]
    lines += _table("Data sets", _NAMED, [(f"`{k.name}`", _parameters(k.parameters), k.summary) for k in known])
    made = [kernels.make(name) for name in kernels.names()]
    lines += _table(
        "Kernels", _NAMED, [(f"`{k.name}`", _parameters(k.parameters), (inspect.getdoc(k) or "").splitlines()[0]) for k in made]
    )
    return "\n".join(lines)


def _table(title: str, columns: Sequence[str], rows: Sequence[tuple[str, ...]]) -> list[str]:
    cells = ["| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |" for row in rows]
    return [f"## {title}", "", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|", *cells, ""]


def _parameters(parameters: Mapping[str, Any]) -> str:
    texts = [
        f"`{k}` (required)" if v is inspect.Parameter.empty else f"`{k}`" if v is None else f"`{k}` {json.dumps(v)}"
        for k, v in parameters.items()
    ]
    return ", ".join(texts)


def _rows(key: str, part: Mapping[str, Any], required: bool, schema: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    part = _resolved(part, schema)
    default = "required" if required else f"`{json.dumps(part['default'])}`" if part.get("default") not in (None, {}) else ""
    yield f"`{key}`", _kind(part, schema), _allowed(part), default, part.get("description", "")
    for inner in [part, *(_resolved(p, schema) for group in ("oneOf", "anyOf", "allOf") for p in part.get(group, ()))]:
        for name, sub in inner.get("properties", {}).items():
            yield from _rows(f"{key}.{name}", sub, name in inner.get("required", ()), schema)
        for suffix, sub in ((".<name>", inner.get("additionalProperties")), ("[]", inner.get("items"))):
            if isinstance(sub, Mapping) and _has_keys(sub, schema):
                yield from _rows(key + suffix, sub, False, schema)


def _resolved(part: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" not in part:
        return part
    found: Any = schema
    for step in part["$ref"].removeprefix("#/").split("/"):
        found = found[step]
    return {**_resolved(found, schema), **{k: v for k, v in part.items() if k != "$ref"}}


def _has_keys(part: Mapping[str, Any], schema: Mapping[str, Any]) -> bool:
    part = _resolved(part, schema)
    nested = [p for group in ("oneOf", "anyOf", "allOf") for p in part.get(group, ())]
    nested += [p for p in (part.get("items"), part.get("additionalProperties")) if isinstance(p, Mapping)]
    return bool(part.get("properties")) or any(_has_keys(p, schema) for p in nested)


def _kind(part: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    kinds = part.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else list(kinds)
    if kinds == ["array"] and isinstance(part.get("items"), Mapping):
        inner = _kind(_resolved(part["items"], schema), schema)
        return f"list of {inner}" if inner else "list"
    if not kinds:
        kinds = list(dict.fromkeys(_kind(_resolved(p, schema), schema) for group in ("oneOf", "anyOf") for p in part.get(group, ())))
    return " or ".join({"array": "list", "object": "mapping"}.get(k, k) for k in kinds)


def _allowed(part: Mapping[str, Any]) -> str:
    if "enum" in part:
        return ", ".join(f"`{v}`" for v in part["enum"] if v is not None)
    if "const" in part:
        return f"`{part['const']}`"
    return ", ".join(text.format(part[rule]) for rule, text in _LIMITS.items() if rule in part)
