"""Exact Hessians of T_pi# v and |v|^2 against mpmath and differences of the fields."""

import itertools

import mpmath as mp
import numpy as np
import pytest

from driftrates import kernels
from driftrates.fields import DriftField, SmoothedPoints
from driftrates.laplace.hessians import hessians
from driftrates.laplace.regularised import point_values
from problems import make_cloud, make_field, make_kernel

H = 0.6
LAPLACE = kernels.make("laplace")


def exact_values(field, cloud, eps):
    """(T_pi# v, |v|^2) as mpmath functions of the coordinates: v by plain sums, everything else by numerical differentiation."""
    h, d = mp.mpf(field.h), cloud.shape[1]

    def sums(points, x):
        s = [mp.sqrt(sum(((mp.mpf(float(y[k])) - x[k]) / h) ** 2 for k in range(d)) + mp.mpf(eps) ** 2) for y in points]
        k = [mp.exp(-each) for each in s]
        companion = sum((1 + each) * w for each, w in zip(s, k, strict=True))
        return [sum(w * (mp.mpf(float(y[a])) - x[a]) for w, y in zip(k, points, strict=True)) / sum(k) for a in range(d)], companion

    data = field.target.points[0]

    def velocity(x):
        return [a - b for a, b in zip(sums(data, x)[0], sums(cloud, x)[0], strict=True)]

    def stein(*x):
        v = velocity(x)
        total = mp.mpf(0)
        for k in range(d):
            order = tuple(int(a == k) for a in range(d))
            total += mp.diff(lambda *z, k=k: velocity(z)[k], x, order)
            total += mp.diff(lambda *z: mp.log(sums(data, z)[1]), x, order) * v[k]
        return total

    return stein, lambda *x: sum(each**2 for each in velocity(x))


@pytest.mark.parametrize(("d", "eps"), [(1, 1.0), (1, 0.01), (2, 0.1)])
def test_hessians_agree_with_mpmath(d, eps):
    field, cloud = make_field(d, make_kernel(eps), m=3), make_cloud(3, d)
    x = np.stack([cloud[0] + 0.5 * eps * H * np.eye(d)[0], np.full(d, 0.3)])
    found = hessians(field, x, cloud)
    with mp.workdps(50):
        wanted = exact_values(field, cloud, eps)
        for k, point in enumerate(x):
            at = tuple(mp.mpf(float(c)) for c in point)
            for matrix, function in zip(found, wanted, strict=True):
                for a, b in itertools.combinations_with_replacement(range(d), 2):
                    order = tuple((a == c) + (b == c) for c in range(d))
                    assert matrix[k, a, b] == pytest.approx(float(mp.diff(function, at, order)), rel=1e-9, abs=1e-9)
                    assert matrix[k, a, b] == matrix[k, b, a]


@pytest.mark.parametrize("kernel", [make_kernel(0.2), kernels.make("matern72")])
def test_hessians_in_space_agree_with_differences_of_the_fields(kernel):
    field, cloud = make_field(3, kernel), make_cloud(6, 3)
    x, step = make_cloud(3, 3, 5), 2e-4
    stein, speed = hessians(field, x, cloud)

    def values(at):
        found = point_values(field, cloud[None], at[None])
        return np.array([found.stein[0], found.speed[0]])

    for a, b in itertools.combinations_with_replacement(range(3), 2):
        e, f = step * np.eye(3)[a], step * np.eye(3)[b]
        wanted = (values(x + e + f) - values(x + e - f) - values(x - e + f) + values(x - e - f)) / (4 * step**2)
        assert stein[:, a, b] == pytest.approx(wanted[0], rel=1e-4, abs=1e-4)
        assert speed[:, a, b] == pytest.approx(wanted[1], rel=1e-4, abs=1e-4)


def test_hessians_do_not_depend_on_blocks_and_survive_far_points():
    field, cloud = make_field(2, make_kernel(0.1), m=40), make_cloud(30, 2)
    x = np.concatenate([make_cloud(2000, 2, 8), [[900.0, 0.0]]])
    whole = hessians(field, x, cloud)
    assert np.isfinite(whole).all()
    few = hessians(field, x[::500], cloud)
    assert whole[0][::500] == pytest.approx(few[0]) and whole[1][::500] == pytest.approx(few[1])


def test_what_has_no_hessian_is_refused():
    cloud = make_cloud(4, 2)
    with pytest.raises(ValueError, match="kink"):
        hessians(make_field(2, LAPLACE), cloud, cloud)
    with pytest.raises(ValueError, match="displacement"):
        kernel = make_kernel(0.1)
        hessians(DriftField("sharp", SmoothedPoints(cloud[None], kernel, H), kernel, H), cloud, cloud)
