"""The grammar of kernel expressions, and their values."""

import gc
import math
import re
import weakref

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from driftrates import expressions

NAMES = {"s": 1.7, "s2": 2.89, "rs": 0.4, "eps_": 0.25}


def _combine(children):
    binary = st.builds(lambda a, op, b: f"({a}{op}{b})", children, st.sampled_from([" + ", " - ", "*", "/"]), children)
    unary = st.builds(lambda a: f"(-{a})", children)
    call = st.builds(lambda f, a: f"{f}({a})", st.sampled_from(["exp", "sqrt", "log"]), children)
    return st.one_of(binary, unary, call)


LEAVES = st.one_of(st.sampled_from(sorted(NAMES)), st.floats(0.1, 10).map(repr), st.integers(0, 20).map(str))
TEXTS = st.recursive(LEAVES, _combine, max_leaves=12)
PYTHON = {"__builtins__": {}, "exp": np.exp, "sqrt": np.sqrt, "log": np.log}


def _as_numbers(text):
    """The text read by Python itself, with integer literals as floats."""
    return eval(re.sub(r"(?<![\w.])(\d+)(?![\w.])", r"\1.0", text), PYTHON, {k: np.float64(v) for k, v in NAMES.items()})


@settings(max_examples=150, deadline=None)
@given(TEXTS)
def test_evaluate_agrees_with_python(text):
    with np.errstate(all="ignore"):
        try:
            expected = _as_numbers(text)
        except ZeroDivisionError:
            return
        arrays = {k: np.full(2, v) for k, v in NAMES.items()}
        got = expressions.evaluate(text, arrays, np)
    np.testing.assert_array_equal(np.broadcast_to(got, 2), np.full(2, expected))


def test_fold_visits_operands_left_to_right_with_operation_names():
    steps = []
    result = expressions.fold("sqrt(a - 2)/(-b)", str, lambda op, *args: steps.append(op) or f"{op}[{','.join(args)}]")
    assert steps == ["sub", "sqrt", "neg", "div"]
    assert result == "div[sqrt[sub[a,2.0]],neg[b]]"


def test_evaluate_keeps_float32_and_broadcasts():
    s = np.linspace(0, 1, 3, dtype=np.float32)
    value = expressions.evaluate("exp(-s*2)*d", {"s": s[:, None], "d": 3.0}, np)
    assert value.dtype == np.float32 and value.shape == (3, 1)
    np.testing.assert_allclose(value[:, 0], 3 * np.exp(-2 * s.astype(float)), rtol=1e-6)


def test_evaluate_lets_go_of_its_arrays_without_the_garbage_collector():
    array = np.ones(3)
    alive = weakref.ref(array)
    gc.disable()
    try:
        expressions.evaluate("exp(-s) + s/2", {"s": array}, np)
        del array
        assert alive() is None
    finally:
        gc.enable()


def test_names_in_leaves_functions_out():
    assert expressions.names_in("sqrt(s2 + eps*eps)*log(d)/2") == {"s2", "eps", "d"}


@pytest.mark.parametrize(
    "text",
    [
        "s.real",
        "s**2",
        "s % 2",
        "s // 2",
        "s < 1",
        "+s",
        "not s",
        "s and d",
        "s if d else 1",
        "lambda: s",
        "[s]",
        "(s, d)",
        "s[0]",
        "'s'",
        "None",
        "True",
        "1j",
        "1e999",
        "(t := s)",
        "sin(s)",
        "__import__('os')",
        "exp",
        "exp + 1",
        "exp(s, d)",
        "exp(*s)",
        "exp(x=s)",
        "exp()",
        "exp(s)(d)",
        "s.exp(d)",
        "",
        "s +",
        "s = 1",
        "s; d",
        "s\nd",
        "\0",
        "1" * 400,
    ],
)
def test_text_outside_the_grammar_is_refused(text):
    with pytest.raises(ValueError, match="expression|allowed"):
        expressions.parse(text)


@pytest.mark.parametrize(
    "text", ["1" + "+1" * 200_000, "-" * 9_000 + "s", "(" * 3_000 + "s" + ")" * 3_000, "-" * 500 + "s", "+".join("s" * 500)]
)
def test_huge_text_is_refused_without_exhausting_the_stack(text):
    with pytest.raises(ValueError):
        expressions.parse(text)


def test_deep_but_allowed_text_evaluates():
    assert expressions.evaluate("+".join(["s"] * 300), {"s": 2.0}, math) == 600.0
