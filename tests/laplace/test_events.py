"""Meetings on paths whose meetings are known, and a watched integrator that does not notice the watcher."""

import numpy as np
import pytest

from driftrates import flow
from driftrates.laplace import events


def test_crossings_near_misses_and_lasting_meetings():
    data = np.array([[[0.0], [5.0]]])
    start, end = np.array([[[-1.0], [2.0]]]), np.array([[[1.0], [0.5]]])
    met = events.meetings(start, end, data, 1e-3)
    assert [int(v[0]) for v in met[:4]] == [1, 1, 1, 1]
    assert met.nearest_particle[0] == pytest.approx(0, abs=1e-15) and met.nearest_atom[0] == pytest.approx(0, abs=1e-15)
    lasting = events.meetings(end, end + 1e-4, np.array([[[0.5], [7.0]]]), 1e-3)
    assert [int(v[0]) for v in lasting[:4]] == [0, 0, 0, 0]
    plane = np.zeros((1, 2, 2))
    plane[0] = [[-1.0, 0.1], [3.0, 0.0]]
    moved = plane + [[2.0, 0.0], [0.0, 0.0]]
    atom = np.zeros((1, 1, 2))
    for near, visits in ((0.05, 0), (0.11, 1)):
        met = events.meetings(plane, moved, atom, near)
        assert met.visits[0] == visits and met.crossings[0] == met.order_changes[0] == met.collisions[0] == 0
    assert met.nearest_atom[0] == pytest.approx(0.1) and met.nearest_particle[0] == pytest.approx(np.hypot(2.0, 0.1))


def test_watching_changes_nothing_and_knows_what_was_rejected():
    def rhs(t, x, rows):
        return 30 * np.cos(9 * t)[:, None, None] * np.abs(x - 0.2) - x, np.zeros((len(x), 0))

    x0 = np.random.default_rng(0).standard_normal((3, 4, 1))
    watched = events.Watched(rtol=1e-5, atol=1e-7)
    (seen,) = flow.integrate(rhs, x0, [2.0], watched)
    (plain,) = flow.integrate(rhs, x0, [2.0], flow.DormandPrince(rtol=1e-5, atol=1e-7))
    np.testing.assert_array_equal(seen.state.x, plain.state.x)
    assert plain.statistics.rejected.sum() > 0
    for r in range(3):
        accepted = np.concatenate([trial.accepted[trial.rows == r] for trial in watched.trials])
        assert accepted.sum() == plain.statistics.accepted[r] and (~accepted).sum() == plain.statistics.rejected[r]


def test_counts_of_a_flow_on_the_line():
    ds = events.measure_events(seed=4, cells=((4, 3),), replicates=3, horizon=3.0)
    assert ds.sizes["flight"] == 9 and list(np.unique(ds["flight_dimension"])) == [1, 2, 3]
    line = ds.isel(flight=np.flatnonzero(ds["flight_dimension"] == 1))
    assert (line["order_changes"] == 0).all() and float(line["crossings"].sum()) > 0
    assert (ds["order_changes"] == 0).isel(flight=slice(3, None)).all()
    # Two particles are sent through each atom at the same instant.
    plane = ds.isel(flight=slice(3, None))
    assert (plane["control_visits"] == 4).all() and (plane["control_collisions"] == 2).all()
    share = ds["rejected"] / ds["trials"]
    low, high = (ds["rejected_share"].sel(end=end) for end in ("low", "high"))
    seen = ds["trials"] > 0
    assert ((low <= share) & (share <= high)).where(seen, True).all() and low.isnull().where(~seen, False).sum() == (~seen).sum()
    with pytest.raises(ValueError, match="N >= 2"):
        events.measure_events(seed=1, cells=((1, 3),))
