"""Arithmetic expressions that one kernel definition hands to every engine.

An expression is text in the grammar ``+ - * /``, unary minus, numbers, names and the functions ``sqrt``, ``log``,
``exp``. It is parsed, never executed: the NumPy engine walks the tree, the CPU engine turns it into vector
instructions and the CUDA engine into C.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from driftrates.messages import shown

FUNCTIONS = ("sqrt", "log", "exp")
MAX_LENGTH, MAX_DEPTH = 10_000, 400
_OPERATORS = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "div"}


@cache
def parse(text: str) -> ast.expr:
    """Syntax tree of ``text``.

    Raises ``ValueError`` where the text leaves the grammar of this module.
    """
    if len(text) > MAX_LENGTH:
        raise ValueError(f"an expression has at most {MAX_LENGTH} characters, not {len(text)}")
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise ValueError(f"{shown(text)} is not an arithmetic expression") from error
    nodes = level = [tree]
    for _ in range(MAX_DEPTH):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        nodes = nodes + level
    if level:
        raise ValueError(f"{shown(text)} is nested more than {MAX_DEPTH} levels deep")
    called = {id(node.func) for node in nodes if isinstance(node, ast.Call)}
    for node in nodes:
        allowed = (
            isinstance(node, ast.BinOp)
            and type(node.op) in _OPERATORS
            or isinstance(node, ast.UnaryOp)
            and isinstance(node.op, ast.USub)
            or isinstance(node, ast.Constant)
            and type(node.value) in (int, float)
            and abs(node.value) <= sys.float_info.max
            or isinstance(node, ast.Name)
            and (node.id not in FUNCTIONS or id(node) in called)
            or isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in FUNCTIONS
            and len(node.args) == 1
            and not node.keywords
            or isinstance(node, (ast.operator, ast.unaryop, ast.expr_context))
        )
        if not allowed:
            raise ValueError(f"{shown(text)} uses {type(node).__name__}: only + - * /, numbers, names and {FUNCTIONS} are allowed")
    return tree


def fold(text: str, leaf: Callable[[str | float], Any], apply: Callable[..., Any]) -> Any:
    """Fold the tree of ``text`` bottom-up.

    ``leaf`` maps a name or a number, ``apply(op, *args)`` an operation ``op`` in ``add sub mul div neg`` or `FUNCTIONS`.
    """

    return _visit(parse(text), leaf, apply)


def _visit(node: ast.expr, leaf: Callable[[str | float], Any], apply: Callable[..., Any]) -> Any:
    if isinstance(node, ast.Constant):
        return leaf(float(node.value))
    if isinstance(node, ast.Name):
        return leaf(node.id)
    if isinstance(node, ast.UnaryOp):
        return apply("neg", _visit(node.operand, leaf, apply))
    if isinstance(node, ast.BinOp):
        return apply(_OPERATORS[type(node.op)], _visit(node.left, leaf, apply), _visit(node.right, leaf, apply))
    return apply(node.func.id, _visit(node.args[0], leaf, apply))


def evaluate(text: str, names: Mapping[str, Any], xp: Any) -> Any:
    """Value of ``text`` with the arrays and numbers ``names`` under the array namespace ``xp``."""
    operations = {
        "add": lambda a, b: a + b,
        "sub": lambda a, b: a - b,
        "mul": lambda a, b: a * b,
        "div": lambda a, b: a / b,
        "neg": lambda a: -a,
        "sqrt": xp.sqrt,
        "log": xp.log,
        "exp": xp.exp,
    }
    return fold(
        text,
        lambda leaf: names[leaf] if isinstance(leaf, str) else leaf,
        lambda op, *args: operations[op](*args),
    )


def names_in(text: str) -> set[str]:
    """Free names of ``text`` (functions not counted)."""
    return {n.id for n in ast.walk(parse(text)) if isinstance(n, ast.Name)} - set(FUNCTIONS)
