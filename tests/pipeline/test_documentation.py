"""The page of configuration keys says what the schema checks."""

from pathlib import Path

import pytest
import yaml

from driftrates import datasets, kernels
from driftrates.pipeline.documentation import configuration_page

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def schema():
    return yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())


def test_the_committed_page_is_that_of_the_schema(schema):
    """Otherwise: snakemake documentation --cores 1"""
    assert (ROOT / "docs/configuration.md").read_text() == configuration_page(schema)


def keys(node):
    """Every key below ``properties``, at any depth."""
    if isinstance(node, dict):
        for name, inner in node.items():
            if name == "properties":
                yield from inner
            yield from keys(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from keys(inner)


def test_every_key_and_name_has_a_line_that_explains_it(schema):
    rows = [line for line in configuration_page(schema).splitlines() if line.startswith("| `")]
    named = {row.split("`")[1].split(".")[-1] for row in rows}
    assert set(keys(schema)) | set(datasets.NAMES) | set(kernels.names()) <= named
    assert [row for row in rows if not row.rstrip("| ").split("|")[-1].strip() or row.endswith("|  |")] == []


def test_types_limits_and_defaults_are_shown():
    part = {"n": {"type": ["integer", "null"], "minimum": 2, "description": "Number of points."}}
    tree = {"title": "T", "description": "D", "required": ["a"], "$defs": {"p": {"type": "object", "properties": part}}}
    tree["properties"] = {"a": {"description": "Parts.", "type": "array", "items": {"$ref": "#/$defs/p"}}}
    tree["properties"]["b"] = {"description": "Choice x|y.", "enum": ["x", "y"], "default": "x"}
    page = configuration_page(tree)
    assert "| `a` | list of mapping |  | required | Parts. |" in page
    assert "| `a[].n` | integer or null | at least 2 |  | Number of points. |" in page
    assert r'| `b` |  | `x`, `y` | `"x"` | Choice x\|y. |' in page
