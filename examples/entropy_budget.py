# %% [markdown]
# The entropy budget T3.1 of a small ensemble in thirty lines: what the entropy of N particles loses through the Stein drift S_N and gains
# through each particle's own share in the density that it flees.

# %%
import matplotlib.pyplot as plt
import numpy as np

from driftrates import flow, kernels
from driftrates.fields import DriftField, SmoothedDensity
from driftrates.targets import GaussianMixture

kernel, h, n, replicates = kernels.make("gaussian"), 0.5, 32, 64
target = GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], [0.16, 0.16]).smoothed(h)
start = GaussianMixture([1.0], [[0.0]], [4.0])
field = DriftField("conservative", SmoothedDensity(target, h), kernel, h)
d, own = 1, -kernel.laplacian_at_zero(1) / (n * h**3)


# %%
def rhs(t, x, which):
    """Velocity of the particles, and per replicate the rates of what is integrated along their way."""
    value = field.at_particles(x, divergence=True)
    stein = value.divergence + (value.target.value * value.velocity).sum(-1)  # S_N with the cloud frozen
    reciprocal = np.exp(-value.model.log_density)  # its mean is R_N
    return value.velocity, np.stack([value.total_divergence.mean(1), stein.mean(1), own * reciprocal.mean(1)], axis=1)


x0 = start.sample(np.random.default_rng(1), (replicates, n))
times = np.linspace(0.0, 2.0, 21)
records = list(flow.integrate(rhs, x0, times, flow.DormandPrince(rtol=1e-9, atol=1e-11), carried=3))

# %%
# log rho_t along a trajectory changes by minus the integrated divergence; log pi is known in closed form.
divergence, stein, self_interaction = np.stack([record.state.carried for record in records], axis=-1).swapaxes(0, 1)
log_target = np.stack([target.log_density(record.state.x).mean(1) for record in records], axis=-1)
entropy = start.log_density(x0).mean(1)[:, None] - divergence - log_target  # its mean over replicates is H_N(t) / N
change, budget = entropy - entropy[:, :1], self_interaction - stein
print(f"H_N/N falls from {entropy[:, 0].mean():.3f} to {entropy[:, -1].mean():.3f}")
print(f"largest error of T3.1 along {replicates} trajectories: {abs(change - budget).max():.1e}")
print(f"without the self-interaction term: {abs(change + stein).max():.1e}")
assert abs(change - budget).max() < 1e-6 < abs(change + stein).max()

# %%
figure, ax = plt.subplots(figsize=(3.6, 2.6), layout="constrained")
ax.plot(times, change.mean(0), "k", label="$(H_N(t) - H_N(0)) / N$")
ax.plot(times, -stein.mean(0), label=r"$-\int S_N$")
ax.plot(times, self_interaction.mean(0), label="self-interaction")
ax.set(xlabel="time $t$", ylabel="nats per particle", ylim=(-1.5, 2.2))
ax.legend(loc="upper left", frameon=False)
figure.savefig("entropy_budget.png", dpi=150)
