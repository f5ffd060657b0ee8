"""The checks of B1 to B3'' on small measurements: what they find, and that broken data turn their verdicts."""

import numpy as np
import pytest

from driftrates.claims import judge, ledger
from driftrates.spectral import hermite, mean_field, particles

HOLDS = {"holds", "attained", "exhibited", "satisfied"}


@pytest.fixture(scope="module")
def data():
    return {
        "spectra": mean_field.measure_spectra(seed=1, wave_numbers=(1, 2, 4, 6, 8, 12, 24, 48), stop=16.0, points=96),
        "torus_particles": particles.measure_particles(
            seed=1, wave_numbers=(1, 2, 3), n_particles=96, replicates=4, floor_sizes=(32, 64, 128), floor_replicates=12, resamples=99
        ),
        "hermite": hermite.measure_hermite(seed=1, bandwidths=(0.5, 1.0), degree=14, fitted=6, stop=3.0),
    }


def rows(data):
    return judge("spectral", data).set_index("id")


def test_every_statement_holds_and_every_control_is_caught(data):
    table = rows(data)
    assert (table["control"] == "caught").all(), table[table["control"] != "caught"]
    # The exponents of the noise rest on few clouds here.
    noise = table.index.str.contains("noise at")
    assert table[~noise]["verdict"].isin(HOLDS).all(), table[~noise][~table[~noise]["verdict"].isin(HOLDS)]
    assert {known.split("/")[0] for known in table.index} == {"B1", "B2", "B3", "B3'", "B3''"} == set(ledger.statements("spectral"))


@pytest.mark.parametrize(
    ("name", "variable", "factor", "statement", "verdict"),
    [
        ("spectra", "nonlinear", 1.001, "B3/nonlinear, gaussian, displacement clock", "fails"),
        ("spectra", "quadrature", 1.001, "B3/formula, laplace, score clock", "fails"),
        ("spectra", "operator", 1.001, "B3/laplace, score clock", "fails"),
        ("spectra", "coupling", 1e6, "B3/gaussian, score clock", "fails"),
        ("spectra", "large_rate", 1.2, "B3/late, displacement clock", "fails"),
        ("spectra", "probe_speed", 1e6, "B2/zero, score clock", "not exhibited"),
        ("spectra", "probe_speed", 1.01, "B2/linear, score clock", "fails"),
        ("spectra", "probe_kept", 0.9, "B2/stays, displacement clock", "not exhibited"),
        ("torus_particles", "quiet_rate", 1.05, "B3''/quiet start, laplace, displacement clock", "fails"),
        ("torus_particles", "noisy_rate", 1.6, "B3''/i.i.d. start, gaussian, displacement clock", "not attained"),
        ("torus_particles", "noise", 0.3, "B3''/frozen noise, gaussian", "not exhibited"),
        ("torus_particles", "exponent_interval", 3.0, "B3''/noise at the start, gaussian", "not attained"),
        ("hermite", "operator", 1.001, "B3'/operator", "fails"),
        ("hermite", "nonlinear", 1.01, "B3'/nonlinear", "fails"),
        ("hermite", "closure", 1.001, "B3'/closure", "fails"),
    ],
)
def test_a_wrong_number_turns_the_verdict(data, name, variable, factor, statement, verdict):
    broken = data[name].copy()
    broken[variable] = broken[variable] * factor
    assert rows({**data, name: broken}).loc[statement, "verdict"] == verdict


def test_a_bottleneck_of_another_law_is_seen(data):
    broken = data["spectra"].copy()
    slow = broken["nonlinear"] * np.exp(-0.1 * (broken["wave_number"] * broken.attrs["bandwidth"]) ** 2)
    broken["nonlinear"] = slow
    table = rows({**data, "spectra": broken})
    assert table.loc["B3/exponential, gaussian, displacement clock", "verdict"] == "not attained"
    assert table.loc["B3/algebraic, laplace, displacement clock", "verdict"] == "not attained"


def test_a_spectrum_that_rises_with_the_degree_is_seen(data):
    broken = data["hermite"].copy()
    broken["operator"] = broken["operator"] * 0 + broken["degree"]
    table = rows({**data, "hermite": broken})
    assert table.loc["B3'/slow at high degree", "verdict"] == "not exhibited"
    assert table.loc["B3'/largest", "verdict"] == "fails"
