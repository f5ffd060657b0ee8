"""The chapter on the Laplace field: broken data must turn the verdict."""

import numpy as np
import pytest

from driftrates.claims import judge, ledger
from driftrates.laplace.decomposition import measure_decomposition


@pytest.fixture(scope="module")
def study():
    return measure_decomposition(seed=5, points=21, probes=8, starts=2)


def rows(study):
    return judge("laplace_field", {"decomposition": study}).set_index("id")


def test_the_chapter_holds_and_its_controls_are_caught(study):
    table = rows(study)
    assert set(table["verdict"]) == {"holds", "exhibited"}
    assert (table["control"] == "caught").all()
    assert {known.split("/")[0] for known in table.index} == set(ledger.statements("laplace_field")) == {"L6.1", "eq53", "R6.11", "X4"}


BREAKS = {
    "shift_gap": (lambda v: v + 1e-10, {"L6.1/shift, "}),
    "radius_gap": (lambda v: v + 1e-10, {"L6.1/radius, "}),
    "split_gap": (lambda v: v + 1e-10, {"eq53/mu, "}),
    "other_gap": (lambda v: v + 1e-10, {"eq53/p, "}),
    "curl_sums": (lambda v: 1.001 * v, {"R6.11/formula"}),
    "curl_steps": (lambda v: v + v.isel(field=0).drop_vars("field"), {"R6.11/automatic differentiation", "R6.11/Gaussian, curl"}),
    "flux": (lambda v: 1.5 * v, {"R6.11/circulation"}),
    "circulation": (lambda v: v + 1e-6 * (v["field"] == "gaussian"), {"R6.11/Gaussian, circulation"}),
    "zero_curl": (lambda v: 1e-9 * v, {"R6.11/r = 0"}),
    "zero_residual": (lambda v: v + 1e-6, {"R6.11/r = 0"}),
    "laplacian_gap": (lambda v: v + 1e-6, {"X4/alpha"}),
    "smoothing_gap": (lambda v: v + 1e-6, {"X4/smoothing"}),
    "minimum_distance": (lambda v: v + 0.01, {"X4/zeros of delta"}),
    "minimum": (lambda v: v * (v["case"] < 5), {"X4/N not a multiple of M"}),
    "near_delta": (lambda v: 0.1 * v, {"X4/curvature"}),
    "curvature": (lambda v: 1e-12 * v, {"X4/Hessian"}),
}


@pytest.mark.parametrize("variable", BREAKS)
def test_a_wrong_number_turns_the_verdict(study, variable):
    change, expected = BREAKS[variable]
    source = study.assign_coords(case=np.arange(study.sizes["case"])) if variable == "minimum" else study
    changed = study.copy()
    changed[variable] = (study[variable].dims, change(source[variable]).transpose(*study[variable].dims).values)
    table = rows(changed)
    turned = table.index[~table["verdict"].isin(["holds", "exhibited"])]
    assert turned.size and all(any(known.startswith(name) for name in expected) for known in turned if not _follows(known, variable))
    assert all(any(known.startswith(name) for known in turned) for name in expected)


def _follows(known, variable):
    """A changed curvature changes the unit of the zeros and both sides of the quadratic form as well."""
    return variable == "curvature" and known in ("X4/curvature", "X4/zeros of delta")
