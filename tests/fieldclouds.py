"""Fields of every kind with their clouds, and the quantities that exist for some of them only, for the tests of the fields."""

import numpy as np

from driftrates import kernels
from driftrates.fields import STATISTICS, DriftField, SmoothedDensity, SmoothedPoints
from driftrates.targets import GaussianMixture

H = 0.7
FIELDS = [(name, alone) for name in STATISTICS for alone in (False, True)]
KERNELS = kernels.names()
SMOOTH = [n for n in KERNELS if kernels.make(n).smoothness >= 2]
ALL = [kernels.make(n) for n in KERNELS]


def cloud(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def mixture(d):
    """Two components with full covariances."""
    a = cloud(50 + d, 2, d, d)
    return GaussianMixture([0.3, 0.7], cloud(60 + d, 2, d), 0.2 * a @ a.swapaxes(1, 2) + 0.3 * np.eye(d))


def fields_of(kernel, d, name, leave_one_out):
    """The field toward data and, where the kernel allows it, toward a smoothed mixture."""
    yield DriftField(name, SmoothedPoints(cloud(d, 1, 9, d), kernel, H), kernel, H, leave_one_out)
    if kernel.name == "gaussian":
        yield DriftField(name, SmoothedDensity(mixture(d).smoothed(H), H), kernel, H, leave_one_out)


def has_divergence(kernel, name):
    return kernel.smoothness >= 2 or name != "conservative"
