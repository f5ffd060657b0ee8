# %% [markdown]
# The field of a cloud and its divergence. Open it as a notebook (Jupytext, VS Code, Spyder), or run `python examples/field.py`.

# %%
import matplotlib.pyplot as plt
import numpy as np

from driftrates import kernels
from driftrates.fields import DriftField, SmoothedPoints

rng = np.random.default_rng(0)
data = rng.normal(size=(1, 400, 2)) @ np.array([[1.0, 0.6], [0.0, 0.5]])  # (replicates, points, components)
cloud = rng.normal([-1.5, 1.0], 0.5, size=(1, 60, 2))

# %%
# The displacement field of the Laplace kernel: mean shift of the data minus mean shift of the cloud.
kernel, h = kernels.make("laplace"), 0.5
field = DriftField("displacement", SmoothedPoints(data, kernel, h), kernel, h)
value = field.at_particles(cloud, divergence=True)
print("velocity", value.velocity.shape, "divergence", value.total_divergence.shape)

# %%
# The divergence in particle i's own coordinates, its own atom moving with it, against central differences of the velocity.
i, step = 7, 1e-5
differences = 0.0
for k in range(2):
    shift = np.zeros_like(cloud)
    shift[0, i, k] = step
    ahead, behind = (field.at_particles(cloud + sign * shift).velocity[0, i, k] for sign in (1, -1))
    differences += (ahead - behind) / (2 * step)
print(f"particle {i}: divergence {value.total_divergence[0, i]:.8f}, by differences {differences:.8f}")
assert np.isclose(value.total_divergence[0, i], differences, rtol=1e-6)

# %%
# The same field, the cloud held fixed, anywhere in the plane.
axis = np.linspace(-3, 3, 31)
grid = np.stack(np.meshgrid(axis, axis), axis=-1)
frozen = field.at(grid.reshape(1, -1, 2), cloud, divergence=True)
figure, ax = plt.subplots(figsize=(4.4, 3.6), layout="constrained")
shades = ax.contourf(axis, axis, frozen.divergence.reshape(31, 31), levels=15, cmap="Blues")
ax.quiver(grid[::2, ::2, 0], grid[::2, ::2, 1], *np.moveaxis(frozen.velocity.reshape(31, 31, 2)[::2, ::2], -1, 0), width=0.003)
ax.plot(*cloud[0].T, "o", color="black", markersize=2.5, label="cloud")
ax.plot(*data[0].T, ".", color="grey", markersize=1.5, label="data")
ax.set(xlabel="$x_1$", ylabel="$x_2$", xlim=(-3, 3), ylim=(-3, 3), aspect="equal")
figure.legend(loc="outside upper center", ncols=2, frameon=False)
figure.colorbar(shades, label="divergence of the frozen field", format="%.1f")
figure.savefig("field.png", dpi=150)
