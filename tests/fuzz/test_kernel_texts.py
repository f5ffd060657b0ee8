"""Kernels of the user's own with something wrong in their texts: one message when they are first used, and nothing is executed."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftrates import expressions, kernels, sums
from driftrates.kernels import Kernel
from fuzzing import examples, outcome

X = np.linspace(-1, 1, 6).reshape(1, 3, 2)


@dataclass(frozen=True)
class Own(Kernel):
    width: float = 2.0
    exponent = "0.5*s2"
    prefactors = ("1", "1", "1")


def uses(exponent, prefactor):
    """Every way in which the library reads the texts of a kernel."""

    @dataclass(frozen=True)
    class Mine(Kernel):
        width: float = 2.0

    Mine.exponent, Mine.prefactors = exponent, (prefactor,) * 4
    kernel = Mine()
    calls = [lambda: kernel.rung(np.ones(2), 2), lambda: kernel.log_decay(np.ones(2), 2)]
    calls += [lambda e=e: sums.kernel_sums(X, X, kernel, 0.5, ("k", "gz"), engine=e) for e in ("reference", "cpu", None)]
    return [outcome(call) for call in calls]


BAD = {
    "unknown name": ("0.5*q", "unknown name 'q' in '0.5\\*q'; known: s, s2, rs, d, width"),
    "name of another kernel": ("dof*s2", "unknown name 'dof'"),
    "builtin": ("__builtins__", "unknown name '__builtins__'"),
    "attribute": ("s.__class__", "uses Attribute"),
    "call": ("__import__('os')", "uses Call"),
    "call of a call": ("().__class__.__bases__[0].__subclasses__()", "uses"),
    "other function": ("sin(s)", "uses Call"),
    "two arguments": ("exp(s, s)", "uses Call"),
    "keyword": ("exp(x=s)", "uses Call"),
    "star": ("exp(*s)", "uses"),
    "lambda": ("(lambda: s)()", "uses"),
    "power": ("s**2", "uses BinOp"),
    "matrix": ("s @ s", "uses BinOp"),
    "comparison": ("s < 1", "uses Compare"),
    "choice": ("1 if s else 2", "uses IfExp"),
    "list": ("[s]", "uses List"),
    "index": ("s[0]", "uses Subscript"),
    "walrus": ("(s := 1)", "uses NamedExpr"),
    "text": ("'s'", "uses Constant"),
    "formatted": ("f'{s}'", "uses JoinedStr"),
    "complex": ("1j*s", "uses Constant"),
    "truth": ("True", "uses Constant"),
    "infinite": ("1e999*s", "uses Constant"),
    "statement": ("import os", "is not an arithmetic expression"),
    "assignment": ("s = 1", "is not an arithmetic expression"),
    "unfinished": ("(s", "is not an arithmetic expression"),
    "nothing": ("", "is not an arithmetic expression"),
    "zero byte": ("s\x00", "is not an arithmetic expression"),
    "lines": ("s\nimport os", "is not an arithmetic expression"),
    "long": ("s+" * 6000 + "s", "at most 10000 characters"),
    "deep": ("(" * 3000 + "s" + ")" * 3000, "nested|not an arithmetic"),
    "negative without end": ("-" * 5000 + "s", "nested|not an arithmetic"),
    "no text": (3, "is no text"),
    "none": (None, "is no text"),
}


@pytest.mark.parametrize("place", ["exponent", "prefactors"])
@pytest.mark.parametrize("case", BAD)
def test_a_bad_text_is_refused_wherever_it_is_used(case, place):
    text, expected = BAD[case]
    results = uses(text, "1") if place == "exponent" else uses("0.5*s2", text)
    messages = [message for _, message in results]
    assert len(set(messages)) == 1
    assert messages[0] is not None and messages[0].startswith("kernel '', ") and place in messages[0]
    with pytest.raises(ValueError, match=expected):
        raise ValueError(messages[0])


PIECES = [
    "s", "s2", "rs", "d", "width", "q", "1", "0", "0.5", "1e308", "+", "-", "*", "/", "(", ")", "exp(", "log(", "sqrt(", " ", ",", ".",
    "**",
]  # fmt: skip


@examples(300)
@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=2), max_size=8).map("".join))
def test_any_text_is_an_expression_or_refused(text):
    kernel = Own()
    names = kernel._names(np.array([0.5, 1.5]), 2, np)
    _, refused = outcome(expressions.parse, text)
    mine = type("Mine", (Own,), {"exponent": text})
    with np.errstate(all="ignore"):
        value, message = outcome(dataclass(frozen=True)(mine)().log_decay, np.array([0.5, 1.5]), 2)
    if message is None:
        # Python itself evaluates what was accepted, with nothing but these names.
        functions = {"sqrt": np.sqrt, "log": np.log, "exp": np.exp}
        with np.errstate(all="ignore"):
            expected = eval(text.strip(), {"__builtins__": {}}, {**names, **functions})  # noqa: S307
        np.testing.assert_array_equal(value, -expected + 0.0 * np.ones(2))
    else:
        assert refused or "unknown name" in message or "has no value" in message


def test_a_text_without_a_value_is_refused_in_its_dimension():
    @dataclass(frozen=True)
    class Line(Kernel):
        exponent = "0.5*s2"
        prefactors = ("1", "1/(d - 1)", "1")

    assert np.isfinite(Line().rung(np.ones(2), 2)).all()
    assert "has no value in d = 1" in outcome(Line().rung, np.ones(2), 1)[1]


@pytest.mark.parametrize("d", [1, 2, 30, 200, 1000, 10**6])
@pytest.mark.parametrize("name", kernels.names())
def test_dimensions_whose_integrals_leave_double_precision_are_refused(name, d):
    kernel = kernels.make(name)
    _, message = outcome(kernel.check_dimension, d)
    assert message is None if d <= 30 else d < 1000 or message is not None
    if message is None:
        assert 0 < kernel.normaliser(d) < np.inf
    else:
        assert f"leaves double precision in d = {d}" in message


@pytest.mark.parametrize("eps", [1e-100, 1e-90, 800.0, 1e100])
def test_parameters_whose_integrals_leave_double_precision_are_refused(eps):
    assert "leaves double precision" in outcome(kernels.make("smoothed_laplace", eps=eps).check_dimension, 7)[1]
