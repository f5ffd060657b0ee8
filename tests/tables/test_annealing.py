"""The tables of annealing against the Dataset they are made from."""

import pytest

from driftrates.spectral import annealing
from driftrates.tables import annealing as tables
from problems import small_annealing


@pytest.fixture(scope="module")
def data():
    return {"annealing": small_annealing()}


def test_every_schedule_has_a_row_with_its_times_and_its_law(data):
    frame = tables.convergence_times(data)
    assert len(frame) == len(annealing.EQUATIONS) * len(annealing.SCHEDULES) + 2
    row = frame[(frame["equation"] == "linear") & (frame["schedule"] == "annealed 0.25")].iloc[0]
    assert float(row["Kmax = 8"]) == pytest.approx(annealing.annealed_time(8, 2.0, 0.25, 2.0), rel=5e-3)
    assert row["fitted"].startswith("4 [") and row["predicted"] == "4" and row["parameter"] == "b of a + b log K"
    assert frame[frame["schedule"] == "fixed 1"].iloc[0]["predicted"] == "0.5"
    assert float(frame.iloc[-1]["Kmax = 8"]) == pytest.approx(float(annealing.lower_bound(8, 2.0)), rel=5e-3)
    assert (frame[frame["equation"] == "particles"]["Kmax = 8"] == "").all()


def test_the_winner_has_the_sign_of_the_paired_difference(data):
    (study,) = data.values()
    sign = {"annealed": -1.0, "fixed": 1.0, "undecided": 0.0}
    ours = study["contender"] == "best annealed"
    for name, value in sign.items():
        made = study.assign(gap=study["gap"].where(~ours, value), gap_error=study["gap_error"].where(~ours, 0.5))
        frame = tables.annealing_winners({"annealing": made})
        assert len(frame) == study.sizes["case"] * 2 and set(frame["winner"]) == {name}
    row = tables.annealing_winners(data).iloc[0]
    cell = study["contest"].isel(case=0).sel(contender="best fixed", checkpoint=2)
    assert float(row["W2, fixed"].split(" ")[0]) == pytest.approx(float(cell.mean()), rel=5e-3)
    assert row["fixed"] in ("0.5", "1") and row["annealed"].startswith("to 0.")
