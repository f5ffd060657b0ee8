"""B5 and B6 on small studies: verdicts, controls, and broken data that turn them."""

import numpy as np
import pytest

from driftrates.claims import judge, ledger
from driftrates.variational import full_gradient, smoothed_kl


@pytest.fixture(scope="module")
def data():
    small = {"bandwidths": [0.4, 0.5], "replicates": 2, "particles": 4, "horizon": 0.2, "steps": [1e-3, 1e-2], "step_replicates": 2}
    ablation = {"particles": 16, "replicates": 2, "horizon": 20.0, "outputs": 4, "points": 128}
    return {
        "gradient_flows": smoothed_kl.measure_gradient_flows(seed=20260522, draws=200, **small),
        "stop_gradient": full_gradient.measure_stop_gradient(seed=20260522, **ablation),
    }


def rows(data):
    return judge("variational", data).set_index("id")


def test_statements_hold_and_every_control_is_caught(data):
    table = rows(data)
    assert {known.split("/")[0] for known in table.index} == set(ledger.statements("variational"))
    assert (table["control"] == "caught").all()
    raises = table.index.str.contains("raises KL")
    assert set(table.loc[~raises, "verdict"]) <= {"holds", "attained", "exhibited", "loose"}


def swapped(ds, name, dim):
    out = ds.copy(deep=True)
    out[name] = (ds[name].dims, ds[name].isel({dim: slice(None, None, -1)}).values)
    return out


@pytest.mark.parametrize(
    ("study", "change", "statement", "verdict"),
    [
        ("gradient_flows", lambda ds: swapped(ds, "exponent_interval", "flow"), "B5/exponent, drift, particles", "not attained"),
        ("gradient_flows", lambda ds: ds.assign(kl_integral=1.001 * ds["kl_integral"]), "B5/dissipation, w2_flow", "fails"),
        ("gradient_flows", lambda ds: swapped(ds, "kl", "flow"), "B5/dissipation of the W2 flow has a sign", "violated"),
        ("gradient_flows", lambda ds: swapped(ds, "rising_share", "flow"), "B5/the drift raises KL of two particles", "not exhibited"),
        ("gradient_flows", lambda ds: swapped(ds, "kl", "flow"), "B5/KL rises along the drift", "not exhibited"),
        ("gradient_flows", lambda ds: swapped(ds, "asymmetry", "flow"), "B5/no functional", "not exhibited"),
        ("gradient_flows", lambda ds: swapped(ds, "step_distance", "functional"), "B6/order, smoothed_kl, d=2", "not attained"),
        ("gradient_flows", lambda ds: swapped(ds, "step_distance", "flow"), "B6/limit, frozen_potential", "fails"),
        ("gradient_flows", lambda ds: ds.assign(reassigned=ds["reassigned"] + 0.5), "B6/coupling", "fails"),
        ("stop_gradient", lambda ds: ds.assign(w2=0.1 * ds["w2"]), "B6/full gradient stalls between the modes, gaussian", "not exhibited"),
        (
            "stop_gradient",
            lambda ds: ds.assign(squared_speed=ds["squared_speed"] * 0 + 1.0),
            "B6/stop-gradient stalls too from one mode, gaussian",
            "not exhibited",
        ),
        ("stop_gradient", lambda ds: swapped(ds, "kl", "descent"), "B6/KL, between, inverse_multiquadric", "violated"),
        ("stop_gradient", lambda ds: ds.assign(kl=ds["kl"] * 0), "B6/full gradient raises KL, inverse_multiquadric", "not exhibited"),
    ],
)
def test_a_wrong_number_turns_the_verdict(data, study, change, statement, verdict):
    table = rows({**data, study: change(data[study])})
    assert table.loc[statement, "verdict"] == verdict


def test_a_wrong_derivative_turns_the_verdict(data, monkeypatch):
    exact = full_gradient.DriftLoss.gradient
    monkeypatch.setattr(full_gradient.DriftLoss, "gradient", lambda self, x: exact(self, x) * (1 + 1e-8))
    table = rows(data)
    assert table.loc["B6/derivative, gaussian", "verdict"] == "fails"


def test_controls_are_measured_not_assumed(data):
    blind = data["gradient_flows"].assign(reordered=data["gradient_flows"]["reassigned"])
    assert rows({**data, "gradient_flows": blind}).loc["B6/coupling", "control"] == "MISSED"


def test_fewer_samples_are_granted_a_larger_error(data):
    few = data["stop_gradient"].assign_attrs(points=data["stop_gradient"].attrs["points"] // 4)
    row, wider = (rows({**data, "stop_gradient": s}).loc["B6/KL, wide, gaussian"] for s in (data["stop_gradient"], few))
    assert wider["uncertainty"] == pytest.approx(2 * row["uncertainty"])


def test_a_missing_number_is_not_a_success(data):
    lost = data["stop_gradient"].copy(deep=True)
    lost["w2"][...] = np.nan
    assert rows({**data, "stop_gradient": lost}).loc["B6/full gradient stalls between the modes, gaussian", "verdict"] == "not exhibited"
