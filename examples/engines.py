# %% [markdown]
# Sums over all pairs, three ways: directly, by cells and by a non-uniform FFT; and how far each is from the slow reference.

# %%
import time

import matplotlib.pyplot as plt
import numpy as np

from driftrates import kernels
from driftrates.sums import kernel_sums

rng = np.random.default_rng(2)
cloud = rng.normal(size=(1, 6000, 2))
few = cloud[:, :100]
kernel, h = kernels.make("gaussian"), 0.1


# %%
def score(engine=None, rtol=None, points=cloud):
    """grad log (K_h * cloud) at the points, (R, n, 2), and the seconds that it took."""
    begun = time.perf_counter()
    sums = kernel_sums(points, cloud, kernel, h, ("k", "gz"), engine=engine, rtol=rtol).terms
    return sums["gz"] / (h * sums["k"][..., None]), time.perf_counter() - begun


exact, _ = score("reference", points=few)
score("cpu")  # the first call compiles
errors = {}
for engine, tolerances in {"cpu": [None], "cells": [1e-3, 1e-6, 1e-9, 1e-12], "nufft": [1e-3, 1e-6, 1e-9, 1e-12]}.items():
    for rtol in tolerances:
        value, seconds = score(engine, rtol)
        errors[engine, rtol] = abs(value[:, :100] - exact).max() / abs(exact).max()
        print(f"{engine:6} rtol = {rtol or 'rounding':8}  {1e3 * seconds:7.1f} ms  error {errors[engine, rtol]:.1e}")
        assert errors[engine, rtol] < (rtol or 1e-12)

# %%
# Left to itself the library takes what it predicts to be fastest: directly for few points, otherwise what `rtol` allows.
value, seconds = score(rtol=1e-6)
print(f"chosen for rtol = 1e-06: {1e3 * seconds:.1f} ms, error {abs(value[:, :100] - exact).max() / abs(exact).max():.1e}")

# %%
figure, ax = plt.subplots(figsize=(3.6, 2.6), layout="constrained")
for engine, marker in {"cells": "o", "nufft": "s"}.items():
    asked = [rtol for name, rtol in errors if name == engine]
    ax.loglog(asked, [errors[engine, rtol] for rtol in asked], marker, label=engine)
ax.axhline(errors["cpu", None], color="grey", label="direct")
ax.plot([1e-12, 1e-3], [1e-12, 1e-3], "k--", linewidth=0.8, label="asked for")
ax.set(xlabel="relative tolerance asked for", ylabel="error of the score")
ax.legend(frameon=False)
figure.savefig("engines.png", dpi=150)
