"""The table that checks A2.1, on kernels that satisfy it and on kernels broken one property at a time."""

import math

import numpy as np
import pytest
import xarray as xr

from driftrates import kernels
from driftrates.kernels import Gaussian, Kernel
from driftrates.measurements import assumptions

DIMENSIONS = [1, 2, 3, 5]


@pytest.fixture(scope="module")
def table():
    return assumptions.tabulate_kernels([{"name": name} for name in kernels.names()], DIMENSIONS)


def test_every_registered_kernel_but_laplace_satisfies_a21(table):
    for name in kernels.names():
        row = table.sel(kernel=name)
        smooth = kernels.make(name).smoothness >= 2
        assert bool(row.satisfies_a21) == smooth, (name, row.reason.item())
        assert (row.reason.item() == "") == smooth
    assert not bool(table.satisfies_a21.sel(kernel="laplace")) and bool(table.satisfies_a21.sel(kernel="matern32"))
    assert "not C2 at 0: second difference ~ e^-1" in table.reason.sel(kernel="laplace").item()


def test_numbers_of_the_specification(table):
    for d in DIMENSIONS:
        omega = math.pi ** (d / 2) / math.gamma(d / 2 + 1)
        c = 1 / (math.factorial(d) * omega)
        at = table.sel(dimension=d)
        for name, laplacian, m2, companion_m2, k0 in (
            ("gaussian", -d * (2 * math.pi) ** (-d / 2), d, d, (2 * math.pi) ** (-d / 2) * math.exp(-0.5)),
            ("laplace", -math.inf, d * (d + 1), d * (d + 3), c * math.exp(-1)),
            ("matern32", -c * d / (d + 1), d * (d + 3), d * (d + 5), 2 * c * math.exp(-1) / (d + 1)),
        ):
            row = at.sel(kernel=name)
            assert float(row.laplacian_at_zero) == pytest.approx(laplacian, rel=1e-12)
            assert float(row.laplacian_at_zero_difference) == pytest.approx(laplacian, rel=1e-6)
            assert float(row.second_moment_quadrature) == pytest.approx(m2, rel=1e-10)
            assert float(row.companion_second_moment) == pytest.approx(companion_m2, rel=1e-10)
            assert float(row.lower_bound) == pytest.approx(k0, rel=1e-12)
        assert float(at.companion_mass.sel(kernel="laplace")) == pytest.approx(d + 1)
        assert float(at.gradient_jump.sel(kernel="laplace")) == pytest.approx(-2, rel=1e-9)
        assert float(at.companion_second_moment.sel(kernel="inverse_multiquadric")) == math.inf


def test_quadratures_agree_with_closed_forms(table):
    assert float(abs(table.mass_error).max()) < 1e-12
    assert float(table.evenness_error.max()) == 0 and float(table.radiality_error.max()) < 1e-14
    np.testing.assert_allclose(table.second_moment_quadrature, table.second_moment, rtol=1e-11)
    np.testing.assert_allclose(table.companion_mass_quadrature, table.companion_mass, rtol=1e-11)
    assert bool(table.fourier_positive.all()) and bool(np.isnan(table.fourier_first_zero).all())
    assert float(table.lower_bound_margin.min()) >= -1e-14


def test_table_round_trips_through_netcdf_with_units(table, tmp_path):
    for name, variable in table.variables.items():
        assert variable.attrs["long_name"] and variable.attrs["units"] == "1", name
    table.to_netcdf(tmp_path / "kernels.nc")
    with xr.open_dataset(tmp_path / "kernels.nc") as stored:
        xr.testing.assert_identical(stored.load(), table)


def _reason(kernel, dimensions=(1, 2)):
    table = assumptions.tabulate_kernels([{"name": kernel}], list(dimensions))
    assert bool(table.satisfies_a21[0]) == (table.reason.values[0] == "")
    return table.reason.values[0]


def test_a_wrong_normaliser_is_found(private_registry):
    class Heavier(Gaussian):
        name = "heavier"

        def normaliser(self, d):
            return super().normaliser(d) * (1 + 1e-6 * (d == 2))

    assert _reason("heavier").startswith("not normalised: integral - 1 = -1e-06 (d = 2)")
    assert _reason("heavier", (1, 3)) == ""


def test_a_wrong_second_moment_is_found(private_registry):
    class Wider(Gaussian):
        name = "wider"

        def second_moment(self, d):
            return d * (1 + 1e-6)

    assert _reason("wider").startswith("second moment is 1 by quadrature, 1 in closed form (d = 1)")


def test_an_infinite_second_moment_is_found(private_registry):
    class Cauchy(Kernel):
        name = "cauchy"
        exponent = "0.5*(d + 1)*log(1 + s2)"
        prefactors = ("(1 + s2)/(d - 1 + 0.001)", "1", "(d + 1)/(1 + s2)")

    assert _reason("cauchy") == "second moment is inf by quadrature, inf in closed form (d = 1)"


@pytest.mark.parametrize(
    ("power", "passes"), [("sqrt(s)", False), ("s", False), ("s*sqrt(s)", False), ("s2", True), ("s*s2", True), ("s2*s2", True)]
)
def test_roughness_at_zero_is_measured_not_declared(private_registry, power, passes):
    """exp(-s^p) calls itself analytic and is C2 only for p >= 2."""
    p = {"sqrt(s)": 0.5, "s": 1.0, "s*sqrt(s)": 1.5, "s2": 2.0, "s*s2": 3.0, "s2*s2": 4.0}[power]

    class Stretched(Kernel):
        name = "stretched"
        exponent = power
        prefactors = ("1", "1", f"{p}*({power})*rs*rs")

    reason = _reason("stretched")
    assert (reason == "") == passes, reason
    if not passes:
        assert f"not C2 at 0: second difference ~ e^-{2 - p:.2g}" in reason


def test_a_logarithmic_singularity_of_the_second_derivative_is_found(private_registry):
    class Logarithmic(Kernel):
        name = "logarithmic"
        exponent = "s2"
        prefactors = ("1", "1 + 0.5*s2*log(s2)", "2 + s2*log(s2) - log(s2) - 1")

    assert "not C2 at 0" in _reason("logarithmic")


def test_a_rung_that_cancels_at_zero_is_found(private_registry):
    class Sech(Kernel):
        """1/cosh(s), whose first rung is written so that rounding destroys it at s = 0."""

        name = "sech"
        exponent = "s"
        prefactors = ("1", "2/(1 + exp(-2*s))", "2*rs*(1 - exp(-2*s))/((1 + exp(-2*s))*(1 + exp(-2*s)))")

    assert _reason("sech", (1,)) == "Laplacian at 0 is -0.31831 by differences, -0 in closed form (d = 1)"


def test_first_zero_of_the_fourier_transform(bumped):
    table = assumptions.tabulate_kernels([{"name": "bumped"}, {"name": "bumped", "a": 0.1}], [1, 2])
    assert list(table.kernel.values) == ["bumped", "bumped(a=0.1)"]
    np.testing.assert_allclose(table.fourier_first_zero, np.sqrt([[1 + 4, 2 + 4], [1 + 10, 2 + 10]]), rtol=1e-6)
    assert not bool(table.fourier_positive.any()) and bool(table.satisfies_a21.all())
    np.testing.assert_array_equal(table.fourier_minimum < 0, True)


def test_verdict_is_per_kernel_and_covers_parameters():
    table = assumptions.tabulate_kernels([{"name": "smoothed_laplace", "eps": e} for e in (1.0, 0.1, 1e-3)], [2])
    assert bool(table.satisfies_a21.all())
    np.testing.assert_allclose(table.laplacian_at_zero_difference[:, 0], table.laplacian_at_zero[:, 0], rtol=1e-6)
    assert (np.diff(table.laplacian_at_zero[:, 0]) < 0).all()


@pytest.mark.parametrize(
    ("entries", "dimensions", "message"),
    [
        ([], [1], "at least one kernel"),
        ([{"name": "gaussian"}], [], "at least one kernel and one dimension"),
        ([{"name": "gausian"}], [1], "unknown kernel 'gausian'"),
        ([{"eps": 1.0}], [1], "needs a 'name'"),
        ([{"name": "gaussian"}, {"name": "gaussian"}], [1], "kernels must differ"),
        ([{"name": "gaussian"}], [0], "integers >= 1, not \\[0\\]"),
        ([{"name": "gaussian"}], [1.5], "integers >= 1"),
        ([{"name": "gaussian"}], [2, 2], "different integers"),
        ([{"name": "gaussian"}], [True], "integers >= 1"),
    ],
)
def test_bad_tables_are_refused(entries, dimensions, message):
    with pytest.raises(ValueError, match=message):
        assumptions.tabulate_kernels(entries, dimensions)
