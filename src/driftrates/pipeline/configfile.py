"""Configuration files as they are written: what YAML would take silently for something else, or for a program, is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from driftrates.messages import one_line, shown

LARGEST_BYTES = 2**22
"""A configuration file is read by hand, so it is small."""
_VALUES, _DEPTH = 200_000, 64
_PLAIN = {"str", "int", "float", "bool", "null", "map", "seq", "merge"}
_DECIMAL = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_RESOLVER = yaml.resolver.Resolver()
_REAL = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


def read(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML 1.1 or JSON file.

    Raises ``ValueError`` naming the file and the line unless it is plain data that means what it says: numbers, texts, true, false,
    null, lists and mappings, each key a text that stands once, numbers in decimal digits, references of finite extent.
    """
    try:
        if not Path(path).is_file():
            raise ValueError("there is no such file")
        with Path(path).open("rb") as stream:
            content = stream.read(LARGEST_BYTES + 1)
        if len(content) > LARGEST_BYTES:
            raise ValueError(f"is larger than {LARGEST_BYTES} bytes")
        return _parse(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        problem = f"is not UTF-8 text (byte {error.start})"
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"line {mark.line + 1}: " if mark else ""
        reason = ", ".join(filter(None, (error.context, error.problem)))
        problem = f"{line}is not YAML ({reason}); indent by spaces, and quote texts with : # @ ` % or brackets"
    except yaml.YAMLError as error:
        problem = f"is not YAML ({str(error).partition(' in ')[0]})"
    except RecursionError:
        problem = f"is nested more than {_DEPTH} levels deep"
    except ValueError as error:
        problem = str(error)
    raise ValueError(one_line(f"configuration, file {path}: {problem}"))


def _parse(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text, object_pairs_hook=_once, parse_int=_json_integer, parse_float=_json_real)
    except json.JSONDecodeError:
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            if node is not None:
                _check(node, {}, 0)
            value = None if node is None else loader.construct_document(node)
        finally:
            loader.dispose()
    if value is None:
        raise ValueError("is empty; at least the key experiments is needed")
    if not isinstance(value, dict):
        raise ValueError(f"holds {shown(value)}; a mapping of keys to values is needed")
    if "__use_yte__" in value:
        raise ValueError("the key __use_yte__ would make a program of it; a configuration is data and is never executed")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    for key, value in pairs:
        if key in seen:
            raise ValueError(f"the key {shown(key)} stands twice in one mapping")
        seen[key] = value
    return seen


def _json_integer(text: str) -> int:
    _refuse_unusual(text, "int")
    return int(text)


def _json_real(text: str) -> float:
    _refuse_unusual(text, "float")
    return float(text)


def _refuse_unusual(text: str, kind: str) -> None:
    """Raises ``ValueError`` for a number that is not read as it stands."""
    if kind == "int" and not _DECIMAL.fullmatch(text) or kind == "float" and not _REAL.fullmatch(text):
        raise ValueError(f"YAML does not read {shown(text)} as it stands; write a number in decimal digits, or a text in quotes")
    if kind == "int" and len(text) > 30:
        raise ValueError(f"{shown(text)} has too many digits")
    if kind == "float" and float(text) == 0 and re.search("[1-9]", re.split("[eE]", text)[0]):
        raise ValueError(f"{shown(text)} is too small for double precision")


def _check(node: yaml.Node, sizes: dict[int, int], depth: int) -> int:
    """Number of values below a node with every reference written out; ``sizes`` holds those known, 0 for a node that is being counted."""
    if id(node) in sizes:
        if not sizes[id(node)]:
            raise _at(node, "a reference (*) to a list or mapping that holds it has no end")
        return sizes[id(node)]
    if depth > _DEPTH:
        raise _at(node, f"is nested more than {_DEPTH} levels deep")
    sizes[id(node)] = 0
    kind = node.tag.rpartition(":")[2]
    if node.tag != f"tag:yaml.org,2002:{kind}" or kind not in _PLAIN:
        what = f"{shown(node.value)} would be read as a {kind}" if kind == "timestamp" else f"the tag {shown(node.tag)} is not allowed"
        raise _at(node, f"{what}; allowed: numbers, texts (in quotes), true, false, null, lists and mappings")
    children: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        _check_keys(node)
        children = [child for pair in node.value for child in pair]
    elif isinstance(node, yaml.SequenceNode):
        children = node.value
    elif kind != "str":
        # A tag that is written out may go with any text.
        if _RESOLVER.resolve(yaml.ScalarNode, node.value, (True, False)) != node.tag:
            raise _at(node, f"{shown(node.value)} is no {kind}")
        try:
            _refuse_unusual(node.value, kind)
        except ValueError as error:
            raise _at(node, str(error)) from None
    sizes[id(node)] = total = 1 + sum(_check(child, sizes, depth + 1) for child in children)
    if total > _VALUES:
        raise _at(node, f"holds more than {_VALUES} values, with every reference (*) written out")
    return total


def _check_keys(node: yaml.MappingNode) -> None:
    seen = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode) or not key.tag.endswith((":str", ":merge")):
            raise _at(key, f"{shown(key.value) if isinstance(key, yaml.ScalarNode) else 'a list or mapping'} is no key; put it in quotes")
        if key.value in seen:
            raise _at(key, f"the key {shown(key.value)} stands twice in one mapping")
        seen.add(key.value)


def _at(node: yaml.Node, text: str) -> ValueError:
    return ValueError(f"line {node.start_mark.line + 1}: {text}")
