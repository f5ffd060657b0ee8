"""The ledger: how evidence becomes a verdict, and how a statement broken on purpose must be caught.

A claim is a function ``f(data) -> Iterable[Evidence]`` registered under the id of a statement. Every piece of evidence holds
the measurement and the same measurement with the statement broken (the negative control); both are judged by the same rule.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import xarray as xr

Data = Mapping[str, xr.Dataset]
"""The Datasets of a chapter by name, "entropy/long_d1", ..."""

COLUMNS = (
    "id",
    "kind",
    "statement",
    "quantity",
    "measured",
    "predicted",
    "margin",
    "cases",
    "uncertainty",
    "verdict",
    "control",
    "source",
)

OUTCOMES: dict[str, tuple[str, ...]] = {
    "confirmed": ("holds", "attained", "satisfied", "exhibited"),
    "faster than the bound": ("faster than the bound",),
    "loose": ("loose",),
    "vacuous": ("vacuous",),
    "contradicted": ("fails", "violated", "not satisfied", "not exhibited", "not attained", "slower than predicted"),
    "undecided": ("undecided",),
}
"""The verdicts that mean the same to a reader."""

ATTAINED, LOOSE, VACUOUS = 1.1, 10.0, 1000.0
"""A bound is attained where it exceeds the measurement in some case by less, loose or vacuous where in every case by more than this."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What every kind of evidence says: the case (sub-row of the ledger), the quantity measured, its source in the paper."""

    kind: ClassVar[str]
    quantity: str
    case: str = ""

    def row(self) -> dict[str, Any]:
        """measured, predicted, margin, cases, uncertainty, verdict, control of the ledger. Raises ``ValueError`` if there are no cases."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Identity(Evidence):
    """Both sides agree: every ``residual`` (array) stays below ``tolerance`` (> 0, the error of the method that measured it).

    ``control``: the residuals of the identity broken on purpose. Verdict: holds | fails. Margin: decades between the
    tolerance and the largest residual.
    """

    kind = "identity"
    residual: Any
    control: Any
    tolerance: float

    def row(self) -> dict[str, Any]:
        residual, control = (np.abs(_cases(self.quantity, v)) for v in (self.residual, self.control))
        return _within(self.tolerance, residual, control, "holds", "fails")


@dataclass(frozen=True, kw_only=True)
class Inequality(Evidence):
    """lhs <= rhs in every case (arrays), up to ``uncertainty`` (array or number, absolute, of lhs - rhs).

    ``control_lhs``, ``control_rhs``: the statement broken on purpose (``control_uncertainty`` where its own differs).
    Verdict: violated; undecided where a number is missing; else
    attained | holds | loose | vacuous by the smallest ratio of the sides (`LOOSE`, `VACUOUS`; above 1 where the inequality is
    strict, for negative sides too); holds where the sides differ in sign in every case. Margin: decades of that ratio.
    ``ceiling``: the largest value that the left side can take, 1 for a probability: a bound above it says nothing, so that such
    cases do not count for the ratio, and the verdict is vacuous where all cases are such.
    """

    kind = "inequality"
    lhs: Any
    rhs: Any
    control_lhs: Any
    control_rhs: Any
    uncertainty: Any = 0.0
    control_uncertainty: Any = None
    ceiling: float = math.inf

    def row(self) -> dict[str, Any]:
        sides = np.broadcast_arrays(*(np.asarray(v, float) for v in (self.lhs, self.rhs, self.uncertainty)))
        lhs, rhs, uncertainty = (_cases(self.quantity, v) for v in sides)
        with np.errstate(invalid="ignore", over="ignore"):
            gap, ratio = rhs - lhs + uncertainty, np.full(lhs.shape, np.nan)
            np.divide(rhs, lhs, out=ratio, where=lhs > 0)
            np.divide(lhs, rhs, out=ratio, where=rhs < 0)
        ratio[lhs == rhs] = 1.0
        ratio[rhs == np.inf] = np.inf
        empty = rhs >= self.ceiling
        if not empty.all() and self.ceiling < math.inf:
            ratio[empty] = np.nan
        worst = int(np.argmin(gap / np.clip(np.abs(rhs), 1e-300, 1e300) + np.where(empty & (gap >= 0), np.inf, 0)))
        tightest = worst if not (gap >= 0).all() or np.isnan(ratio).all() else int(np.nanargmin(ratio))
        if not (np.isfinite(lhs).all() and np.isfinite(uncertainty).all()) or np.isnan(rhs).any():
            verdict = "undecided"
        elif (gap < 0).any():
            verdict = "violated"
        elif ratio[tightest] > VACUOUS or self.ceiling < math.inf and empty.all():
            verdict = "vacuous"
        elif ratio[tightest] > LOOSE:
            verdict = "loose"
        else:
            verdict = "attained" if ratio[tightest] < ATTAINED else "holds"
        granted = self.uncertainty if self.control_uncertainty is None else self.control_uncertainty
        broken = np.asarray(self.control_rhs, float) - np.asarray(self.control_lhs, float)
        return {
            "measured": float(lhs[tightest]),
            "predicted": float(rhs[tightest]),
            "margin": _decades(ratio[tightest], 1.0),
            "cases": lhs.size,
            "uncertainty": float(uncertainty[tightest]),
            "verdict": verdict,
            "control": "caught" if (broken < -np.asarray(granted, float)).any() else "MISSED",
        }


@dataclass(frozen=True, kw_only=True)
class Assumption(Evidence):
    """A condition that a configuration meets or not: ``defects`` (array >= 0) all below ``tolerance``, or not.

    ``control``: the defects of an object that is known to break the condition. Verdict: satisfied | not satisfied.
    """

    kind = "assumption"
    defects: Any
    control: Any
    tolerance: float

    def row(self) -> dict[str, Any]:
        defects, control = (_cases(self.quantity, v) for v in (self.defects, self.control))
        return _within(self.tolerance, defects, control, "satisfied", "not satisfied")


@dataclass(frozen=True, kw_only=True)
class Construction(Evidence):
    """Something the paper exhibits: ``effect`` (array) must exceed ``threshold`` (> 0) in every case.

    ``control``: the same quantity where the effect must be absent. Verdict: exhibited | not exhibited.
    """

    kind = "construction"
    effect: Any
    control: Any
    threshold: float

    def row(self) -> dict[str, Any]:
        effect, control = (_cases(self.quantity, v) for v in (self.effect, self.control))
        least = float(effect.min()) if np.isfinite(effect).all() else math.nan
        return {
            "measured": least,
            "predicted": self.threshold,
            "margin": _decades(least, self.threshold),
            "cases": effect.size,
            "uncertainty": _worst(control),
            "verdict": "exhibited" if least > self.threshold else "not exhibited",
            "control": "caught" if (control <= self.threshold).all() else "MISSED",
        }


@dataclass(frozen=True, kw_only=True)
class Rate(Evidence):
    """A measured exponent with its ``interval`` (low, high) against the exponent ``predicted``.

    ``upper_bound``: the prediction belongs to an upper bound, so that decaying faster does not contradict it; ``tolerance`` widens
    the interval by the systematic error that is granted. ``control``: the interval of the same fit where the prediction must fail.
    Verdict: attained | faster than the bound | slower than predicted (upper bounds, whose constants then grow with N),
    attained | not attained (equalities).
    """

    kind = "rate"
    slope: float
    interval: Any
    predicted: float
    control: Any
    cases: int
    upper_bound: bool = True
    tolerance: float = 0.0

    def row(self) -> dict[str, Any]:
        low, high = self.interval[0] - self.tolerance, self.interval[1] + self.tolerance
        if not all(map(math.isfinite, (self.slope, low, high))):
            verdict = "undecided"
        elif low <= self.predicted <= high:
            verdict = "attained"
        elif not self.upper_bound:
            verdict = "not attained"
        else:
            verdict = "faster than the bound" if high < self.predicted else "slower than predicted"
        broken = self.control[0] - self.tolerance <= self.predicted <= self.control[1] + self.tolerance
        return {
            "measured": self.slope,
            "predicted": self.predicted,
            "margin": self.predicted - self.slope,
            "cases": self.cases,
            "uncertainty": (high - low) / 2,
            "verdict": verdict,
            "control": "caught" if all(map(math.isfinite, self.control)) and not broken else "MISSED",
        }


@dataclass(frozen=True)
class Statement:
    """A registered claim: the paper's id, its sentence, where it stands, and the check."""

    id: str
    text: str
    source: str
    check: Callable[[Data], Iterable[Evidence]]


_CHAPTERS: dict[str, dict[str, Statement]] = {}


def statement(chapter: str, id: str, text: str, source: str) -> Callable[[Any], Any]:
    """Register the decorated check as the claim ``id`` of ``chapter``. Raises ``ValueError`` for a duplicate id."""

    def register(check: Any) -> Any:
        if any(id in known for known in _CHAPTERS.values()):
            raise ValueError(f"two checks claim the statement {id}")
        _CHAPTERS.setdefault(chapter, {})[id] = Statement(id, text, source, check)
        return check

    return register


def statements(chapter: str) -> dict[str, Statement]:
    """Registered statements of ``chapter`` by id."""
    return _CHAPTERS[chapter]


def evaluate(chapter: str, data: Data) -> pd.DataFrame:
    """Rows of the ledger (`COLUMNS`) for every statement of ``chapter``, from the Datasets it asks for by name.

    Raises ``ValueError`` where a check gives no evidence, or evidence without cases.
    """
    rows = []
    for known in statements(chapter).values():
        found = list(known.check(data))
        if not found:
            raise ValueError(f"the check of statement {known.id} gave no evidence")
        for evidence in found:
            row = {"id": f"{known.id}/{evidence.case}" if evidence.case else known.id, "kind": evidence.kind}
            rows.append({**row, "statement": known.text, "quantity": evidence.quantity, **evidence.row(), "source": known.source})
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _cases(quantity: str, values: Any) -> np.ndarray:
    cases = np.asarray(values, float).ravel()
    if not cases.size:
        raise ValueError(f"no cases of: {quantity}")
    return cases


def _within(tolerance: float, values: np.ndarray, control: np.ndarray, kept: str, broken: str) -> dict[str, Any]:
    """What `Evidence.row` says where every value must stay below a tolerance; the verdict is ``kept`` or ``broken``."""
    worst = _worst(values)
    return {
        "measured": worst,
        "predicted": 0.0,
        "margin": _decades(tolerance, worst),
        "cases": values.size,
        "uncertainty": tolerance,
        "verdict": kept if worst <= tolerance else broken,
        "control": "caught" if (control > tolerance).any() else "MISSED",
    }


def _worst(values: np.ndarray) -> float:
    return float(values.max()) if np.isfinite(values).all() else math.inf


def _decades(large: float, small: float) -> float:
    if not (large > 0 and math.isfinite(large) and math.isfinite(small)):
        return math.nan
    return math.log10(large / max(small, 1e-300)) if small > 0 else math.inf
