"""The table of decay rates against the Datasets it is made from."""

import numpy as np
import pytest

from driftrates.spectral import mean_field, particles
from driftrates.tables import spectral as tables


def test_a_row_for_every_mode_that_was_measured():
    spectra = mean_field.measure_spectra(seed=1, wave_numbers=(1, 2, 24), stop=2.0, points=48)
    cloud = particles.measure_particles(
        seed=1, wave_numbers=(1,), n_particles=32, replicates=2, floor_sizes=(8, 16, 32), floor_replicates=4, resamples=9
    )
    frame = tables.spectral_rates({"spectra": spectra, "torus_particles": cloud})
    assert len(frame) == int(np.isfinite(spectra["nonlinear"]).sum())
    row = frame[(frame["kernel"] == "Laplace") & (frame["clock"] == "displacement") & (frame["h k"] == 0.5)].iloc[0]
    assert row["rate"] == 0.32 and row["time"] == pytest.approx(3.12, abs=0.01)
    quiet = float(cloud["quiet_rate"].sel(pair="laplace displacement", wave_number=1))
    assert float(row["particles"]) == pytest.approx(quiet / 0.32 - 1, rel=0.1)
    assert abs(float(row["full equation"])) < 1e-5
    assert (frame[frame["kernel"] == "Matérn 7/2"]["particles"] == "").all()
    with pytest.raises(ValueError, match="one bandwidth, not 0.5 and 0.4"):
        tables.spectral_rates({"spectra": spectra, "torus_particles": cloud.assign_attrs(bandwidth=0.4)})
