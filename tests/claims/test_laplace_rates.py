"""s6.6, s6.7 and A6.2 on small studies: data made to follow a statement, and data broken on purpose that must turn its verdict."""

import numpy as np
import pytest

from driftrates.claims import judge, ledger
from driftrates.laplace import comparison, rates


@pytest.fixture(scope="module")
def data():
    small = {"sizes": (6, 9, 12), "data_sizes": (8,), "replicates": 3, "horizon": 1.0, "samples": 16, "held_out": 64, "projections": 4}
    steps = {"step_particles": (6,), "step_bandwidths": (0.3, 0.6, 1.2), "halvings": 3, "resamples": 50}
    flights = {"flights": ((4, 3),), "flight_replicates": 2, "flight_horizon": 2.0}
    ds = rates.measure_laplace_rates(seed=2, **small, **steps, **flights)
    table = comparison.measure_comparison(
        seed=4,
        particles=8,
        data=16,
        held_out=16,
        replicates=3,
        evaluations=4,
        bandwidth_grid=(0.3, 0.6),
        factors=(0.25,),
        sizes=(6, 8, 12),
        samples=16,
        resamples=50,
    )
    return {"laplace_rates": ds, "method_comparison": table}


@pytest.fixture
def ideal(data):
    """The studies with numbers that follow every statement: carriers like h, steps of order 1 and h^2, no meetings."""
    ds = data["laplace_rates"].copy(deep=True)
    exponent = ds["exponent"]
    exponent.loc[{"against": "1/h"}] = np.array([-1.0, -1.1, -0.9])
    exponent.loc[{"against": "1/h", "rule": "fixed"}] = np.array([0.0, -0.1, 0.1])
    ds["largest_radius_gap"] = (0 * ds["largest_radius_gap"] + ds["bandwidth"]).transpose(*ds["largest_radius_gap"].dims)
    # Wide enough a range of h for a factor 2 in every dimension.
    ds["bandwidth"] = ds["bandwidth"] ** 6
    ds["largest_radius_gap"] = ds["largest_radius_gap"] ** 6
    step = ds["step_exponent"]
    for k, name in enumerate(ds["drift"].values):
        displaced = rates.METHODS[name][0] == "displacement"
        for quantity, power in (("stable_step", 2.0), ("lipschitz", -2.0)):
            q = list(ds["quantity"].values).index(quantity)
            step[:, k, q] = (0.0 if displaced else power) + np.array([0.0, -0.05, 0.05])
    for name in ("collisions", "order_changes", "visits", "crossings"):
        ds[name] = 0 * ds[name]
    return {**data, "laplace_rates": ds}


def rows(data):
    return judge("laplace_rates", data).set_index("id")


def test_every_statement_has_rows_and_the_identities_hold(data):
    table = rows(data)
    assert {known.split("/")[0] for known in table.index} == set(ledger.statements("laplace_rates")) == {"s6.6", "s6.7", "A6.2"}
    identities = table[table["kind"] == "identity"]
    assert len(identities) == 6 and (identities["verdict"] == "holds").all() and (identities["control"] == "caught").all()
    assert (table.loc[table["kind"] == "inequality", "verdict"].isin(["holds", "attained", "loose"])).all()
    assert not table.index.duplicated().any()


def test_numbers_that_follow_the_statements_are_attained_and_controls_caught(ideal):
    table = rows(ideal)
    judged = table[table["kind"].isin(["rate", "assumption"])]
    assert set(judged["verdict"]) == {"attained", "satisfied"}
    assert (judged["control"] == "caught").all(), judged[judged["control"] != "caught"]


@pytest.mark.parametrize(
    ("place", "numbers", "verdict"),
    [
        ({"carrier": "root_residual"}, (-0.5, -0.6, -0.4), "slower than predicted"),
        ({"carrier": "radius_gap"}, (-2.0, -2.2, -1.8), "faster than the bound"),
        ({"carrier": "root_energy"}, (np.nan, np.nan, np.nan), "undecided"),
    ],
)
def test_wrong_exponents_turn_their_own_verdict(ideal, place, numbers, verdict):
    ideal["laplace_rates"]["exponent"].loc[{"against": "1/h", "rule": "occupancy", **place}] = np.array(numbers)
    table = rows(ideal)
    turned = table[table["kind"].eq("rate") & table["verdict"].ne("attained")]
    cases = ideal["laplace_rates"].sizes["case"]
    assert len(turned) == cases and (turned["verdict"] == verdict).all() and turned.index.str.contains(place["carrier"]).all()


def test_a_step_of_order_h2_for_a_displacement_is_not_attained_and_spoils_the_others_control(ideal):
    ds = ideal["laplace_rates"]
    k = list(ds["drift"].values).index("displacement, Laplace")
    ds["step_exponent"][:, k, 0] = np.array([2.0, 1.95, 2.05])
    table = rows(ideal)
    steps = table[table.index.str.contains("stable_step")]
    assert steps.loc["s6.6/stable_step, displacement, Laplace, d=1", "verdict"] == "not attained"
    assert set(steps.index[steps["control"] == "MISSED"]) == {f"s6.6/stable_step, {m}, d=1" for m in ("conservative", "sharp, Laplace")}


def test_a_gap_that_stays_and_a_fixed_h_that_scales_are_seen(ideal):
    ds = ideal["laplace_rates"]
    ds["largest_radius_gap"] = 0 * ds["largest_radius_gap"] + 1
    ds["exponent"].loc[{"against": "1/h", "rule": "fixed"}] = np.array([-1.0, -1.1, -0.9])
    table = rows(ideal)
    gaps = table[table.index.str.contains("largest_radius_gap")]
    assert (gaps["verdict"] == "not satisfied").all()
    scaling = table[table["kind"].eq("rate") & ~table.index.str.contains("stable_step|lipschitz")]
    assert (scaling["control"] == "MISSED").all()


@pytest.mark.parametrize("kind", ["collisions", "visits"])
def test_one_meeting_breaks_a62_and_blind_counters_are_noticed(ideal, kind):
    ds = ideal["laplace_rates"]
    ds[kind][0, 0] = 1
    table = rows(ideal)
    broken = table[table["verdict"] == "not satisfied"]
    assert list(broken.index) == [f"A6.2/{kind}, leave-one-out, Laplace, d=1, N=4, M=3"]
    ds[f"control_{kind}"] = 0 * ds[f"control_{kind}"]
    table = rows(ideal)
    assert (table.loc[table.index.str.startswith(f"A6.2/{kind}"), "control"] == "MISSED").all()


def test_the_integrator_row_compares_intervals_and_its_smooth_twin(ideal):
    ds = ideal["laplace_rates"]
    ds["trials"][:] = np.array([100.0, 400.0])
    share = ds["rejected_share"]
    laplace = (ds["flight_field"] != "full, Gaussian").values
    share[:] = np.array([[0.0, 0.04], [0.0, 0.01]])
    share[laplace] = np.array([[0.2, 0.4], [0.0, 0.01]])
    table = rows(ideal)
    found = table[table.index.str.startswith("A6.2/integrator")]
    assert len(found) == 2 and (found["verdict"] == "exhibited").all() and (found["control"] == "caught").all()
    share[laplace] = np.array([[0.005, 0.4], [0.0, 0.01]])
    share[~laplace] = np.array([[0.2, 0.4], [0.0, 0.01]])
    found = rows(ideal)
    found = found[found.index.str.startswith("A6.2/integrator")]
    assert (found["verdict"] == "not exhibited").all() and (found["control"] == "MISSED").all()


@pytest.mark.parametrize(
    ("name", "change", "row"),
    [
        ("scaled_ratio", "unscaled_ratio", "s6.7/alpha^2"),
        ("path_gap", "path_gap_laplace", "s6.7/paths"),
        ("target_gap", lambda gap: gap + 0.1, "s6.7/target pi"),
        ("self_interaction", lambda own: own + 0.1, "s6.7/self-interaction"),
        ("residual_share", lambda share: share + 0.1, "s6.7/residual"),
    ],
    ids=["alpha", "paths", "target", "self-interaction", "residual"],
)
def test_broken_tables_fail(data, name, change, row):
    table = data["method_comparison"].copy()
    table[name] = table[change] if isinstance(change, str) else change(table[name])
    assert rows({**data, "method_comparison": table}).loc[row, "verdict"] == "fails"


def test_a_bound_below_the_jacobian_is_violated(data):
    ds = data["laplace_rates"].copy()
    ds["lipschitz_bound"] = 0.5 * ds["lipschitz"]
    assert rows({**data, "laplace_rates": ds}).loc["s6.6/Lip by radii, d=1", "verdict"] == "violated"
