"""B5, B6 (a): the drift V = grad log(p_h / q_h) against the W2 gradient flow of KL(q_h || p_h), whose velocity is K_h * V.

Near the uniform law: `circle`. For N particles KL(K_h * mu_N || p_h) is a function of X; its gradient times -N is (K_h * V)(x_i) exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import xarray as xr
from scipy import optimize, special
from threadpoolctl import threadpool_limits

from driftrates import flow, kernels
from driftrates.fields import DriftField, Smoothed, SmoothedDensity
from driftrates.kernels import Kernel
from driftrates.measurements import fisher_discrepancy
from driftrates.measurements.transport import squared_w2
from driftrates.power_laws import student_interval
from driftrates.random import generator
from driftrates.targets import GaussianMixture
from driftrates.variational.circle import FLOWS, SOLVERS, Circle, decay_rates, known_flow

FUNCTIONALS = ("smoothed_kl", "frozen_potential")
SMALL_STEP = 1e-2
"""Largest step, in units of h^2, from which orders in eta are read."""
_BANDWIDTH = 0.5


@dataclass(frozen=True)
class SmoothedKL:
    """X -> KL(K_h * mu_N || p_h) by a fixed trapezoid lattice, with its exact gradient: `SmoothedKL.around` builds the lattice.

    ``nodes`` (m, d), ``cell`` the volume of a cell. Meant for some dozens of particles, d = 1 and 2.
    """

    target: Smoothed
    kernel: Kernel
    h: float
    nodes: np.ndarray
    cell: float

    @classmethod
    def around(
        cls, target: Smoothed, kernel: Kernel, h: float, points: np.ndarray, *, spacing: float = 0.25, margin: float = 1.0
    ) -> SmoothedKL:
        """Lattice of step ``spacing`` h that serves clouds within ``margin`` of the box of ``points`` (n, d).

        Raises ``ValueError`` for a kernel with an algebraic tail, which no fixed lattice holds.
        """
        reach = fisher_discrepancy.kernel_reach(kernel, points.shape[1]) * h
        if not np.isfinite(reach):
            raise ValueError(f"kernel {kernel.name!r} has an algebraic tail: a fixed lattice needs one that decays exponentially")
        step, far = spacing * h, reach + margin
        axes = [np.arange(low - far, high + far + step, step) for low, high in zip(points.min(0), points.max(0), strict=True)]
        nodes = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, points.shape[1])
        return cls(target, kernel, h, nodes, step ** points.shape[1])

    @cached_property
    def _target(self) -> tuple[np.ndarray, np.ndarray]:
        found = self.target.statistic("score", self.nodes[None])
        return found.log_density[0], found.value[0]

    def _pairs(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """z = (node - x_i) / h (m, N, d), K_h and h^2 times its rung 1, both (m, N)."""
        z = (self.nodes[:, None] - x) / self.h
        s, d = np.sqrt((z * z).sum(-1)), x.shape[1]
        norm = self.kernel.normaliser(d) * self.h**d
        return z, self.kernel.rung(s, d) / norm, self.kernel.rung(s, d, 1) / norm

    def value(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """KL(K_h * mu_N || p_h) of a cloud x (N, d) and its gradient (N, d), unit 1/length."""
        z, k, k1 = self._pairs(x)
        q, log_p = k.mean(1), self._target[0]
        log_ratio = np.where(q > 0, np.log(np.where(q > 0, q, 1.0)) - log_p, 0.0)
        gradient = np.einsum("m,mi,mik->ik", (log_ratio + 1) * self.cell, k1, z) / (self.h * len(x))
        return float((special.xlogy(q, q) - q * log_p).sum() * self.cell), gradient

    def smoothed_drift(self, x: np.ndarray) -> np.ndarray:
        """(K_h * V)(x_i), (N, d), by the same lattice: the velocity of the W2 flow."""
        z, k, k1 = self._pairs(x)
        q = k.sum(1)
        model = -np.einsum("mi,mik->mk", k1, z) / (self.h * np.where(q > 0, q, 1.0)[:, None])
        drift = np.where(q[:, None] > 0, self._target[1] - model, 0.0)
        return self.cell * k.T @ drift

    def drift(self, x: np.ndarray) -> np.ndarray:
        """V(x_i; X), (N, d)."""
        return DriftField("conservative", self.target, self.kernel, self.h).at_particles(x[None]).velocity[0]


class Dissipation(NamedTuple):
    """KL along one flow at the output times, (T,) each: ``kl``, its ``rate`` by the formula, the ``integral`` of that rate."""

    kl: np.ndarray
    rate: np.ndarray
    integral: np.ndarray


def dissipate(functional: SmoothedKL, x0: np.ndarray, times: np.ndarray, flow_name: str) -> Dissipation:
    """d/dt KL = -(1/N) sum u_i . (K_h * V)(x_i) along dx_i/dt = u_i from x0 (N, d): u = V for the drift, u = K_h * V for the W2 flow.

    Raises ``ValueError`` for a flow that is none of `FLOWS`.
    """
    known_flow(flow_name)

    def evaluate(x: np.ndarray) -> tuple[np.ndarray, float]:
        smoothed = functional.smoothed_drift(x)
        u = functional.drift(x) if flow_name == "drift" else smoothed
        return u, float(-(u * smoothed).sum() / len(x))

    def rhs(t: np.ndarray, x: np.ndarray, replicates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        u, rate = evaluate(x[0])
        return u[None], np.array([[rate]])

    records = list(flow.integrate(rhs, x0[None], times, flow.DormandPrince(rtol=1e-8, atol=1e-10), carried=1))
    found = [(functional.value(r.state.x[0])[0], evaluate(r.state.x[0])[1], r.state.carried[0, 0]) for r in records]
    return Dissipation(*np.array(found).T)


def proximal_step(functional: Callable[[np.ndarray], tuple[float, np.ndarray]], x: np.ndarray, eta: float) -> np.ndarray:
    """argmin over X' of (1/2 eta N) sum |x'_i - x_i|^2 + F(X'), (N, d): the JKO step where the identity coupling is optimal.

    functional: X' (N, d) -> (F, gradient (N, d)). Minimised in the velocity (x' - x) / eta, then polished to a zero of the gradient.
    Raises ``RuntimeError`` where no zero is found.
    """
    n, start = len(x), functional(x)[0]

    def objective(u: np.ndarray) -> tuple[float, np.ndarray]:
        u = u.reshape(x.shape)
        value, gradient = functional(x + eta * u)
        return float((u * u).sum() / (2 * n) + (value - start) / eta), (u / n + gradient).ravel()

    first = optimize.minimize(objective, np.zeros(x.size), jac=True, method="L-BFGS-B", options={"maxiter": 200})
    polished = optimize.root(lambda u: objective(u)[1] * n, first.x, method="krylov", tol=1e-11, options={"maxiter": 60})
    if np.abs(objective(polished.x)[1]).max() * n > 1e-9 * (1 + np.abs(polished.x).max()):
        raise RuntimeError(f"the proximal step at eta = {eta:g} did not converge: {polished.message}")
    return x + eta * polished.x.reshape(x.shape)


def frozen_potential(functional: SmoothedKL, x: np.ndarray) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
    """X' -> (1/N) sum log(q_h / p_h)(x'_i) with q_h frozen at the cloud x (N, d): KL without the motion of its model."""
    field = DriftField("conservative", functional.target, functional.kernel, functional.h)

    def value(moved: np.ndarray) -> tuple[float, np.ndarray]:
        at = field.at(moved[None], x[None])
        return float((at.model.log_density - at.target.log_density).mean()), -at.velocity[0] / len(x)

    return value


TARGETS = {
    "line": ([0.4, 0.6], [[-1.0], [1.2]], 0.4),
    "plane": ([0.5, 0.5], [[-1.0, 0.0], [1.0, 0.5]], 0.5),
    "satellite": ([0.997, 0.003], [[0.0], [2.5]], 0.1),
}
"""Weights, means and standard deviation of the mixtures under the dissipation and the proximal steps, before smoothing.

The cloud of ``satellite`` starts at the light component: there the drift and its average over K_h have opposite signs.
"""


def make_functional(name: str, h: float, *, seed: int, particles: int, replicate: int, margin: float = 1) -> tuple[SmoothedKL, np.ndarray]:
    """(KL toward `TARGETS`[name] smoothed by a Gaussian of bandwidth h, a start (particles, d) for it)."""
    weights, means, deviation = TARGETS[name]
    mixture = GaussianMixture(np.array(weights), np.array(means), np.full((2, len(means[0])), deviation**2)).smoothed(h)
    if name == "satellite":
        x, box = 2.2 + 0.05 * np.linspace(-1, 1, particles)[:, None], np.array([[-1.0], [3.0]])
    else:
        x = box = 1.2 * generator(seed, "variational", name, replicate).standard_normal((particles, len(means[0])))
    box = np.concatenate([box, means]) if margin >= 1 else box  # a proximal step stays near its start
    spacing = 0.2 if x.shape[1] == 1 else 0.3
    return SmoothedKL.around(SmoothedDensity(mixture, h), kernels.make("gaussian"), h, box, spacing=spacing, margin=margin), x


def survey_signs(h: float, sizes: Sequence[int], draws: int, *, seed: int) -> np.ndarray:
    """Share (flow, N) of ``draws`` random clouds on the line from which each flow of `FLOWS` raises KL(q_h || p_h), by its gradient."""
    share = np.empty((len(FLOWS), len(sizes)))
    for k, n in enumerate(sizes):
        functional = make_functional("line", h, seed=seed, particles=n, replicate=0, margin=8.0)[0]
        rate = np.empty((len(FLOWS), draws))
        for i, x in enumerate(np.clip(1.5 * generator(seed, "survey of signs", n).standard_normal((draws, n, 1)), -7.0, 7.0)):
            gradient = functional.value(x)[1]
            rate[:, i] = [(u * gradient).sum() for u in (functional.drift(x), functional.smoothed_drift(x))]
        share[:, k] = (rate > 0).mean(1)
    return share


def measure_gradient_flows(
    *,
    seed: int,
    bandwidths: Sequence[float] = (0.2, 0.3, 0.5),
    replicates: int = 4,
    amplitude: float = 1e-4,
    reach: float = 2.4,
    particles: int = 12,
    horizon: float = 1.0,
    steps: Sequence[float] = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1),
    step_replicates: int = 4,
    draws: int = 1000,
) -> xr.Dataset:
    """B5 and B6 (a), in the score clock, Gaussian kernel. Options as in the configuration; ``steps`` in units of h^2.

    Decay of modes h k <= ``reach`` on the circle over (flow, solver, bandwidth, replicate, mode) and its exponent in h^2 k^2 with a
    Student interval over replicates; asymmetry of the response; KL(q_h || p_h), its rate and the integral of the rate over (flow, case,
    output) for `TARGETS`; share of random clouds whose KL rises over (flow, n_particles); distance between proximal (``functional``) and
    explicit (``flow``) steps over (functional, flow, dimension, step_replicate, step), with the share of particles that an exact assignment
    sends elsewhere, as they are and in reverse order.
    """
    if sum(step <= SMALL_STEP for step in steps) < 2:
        raise ValueError(f"steps must hold at least two numbers up to {SMALL_STEP:g}, not {list(steps)}")
    sizes = np.array([2, 4, 8])
    with threadpool_limits(1, user_api="blas"):  # the products are small
        out = {**_circle_variables(seed, bandwidths, replicates, amplitude, reach), **_dissipation_variables(seed, particles, horizon)}
        share = survey_signs(_BANDWIDTH, sizes, draws, seed=seed)
        out |= _proximal_variables(seed, steps, step_replicates, particles // 2)
    out["rising_share"] = (("flow", "n_particles"), share, "share of random clouds from which the flow raises KL(q_h || p_h)", "1")
    variables = {name: (dims, values, {"long_name": text, "units": unit}) for name, (dims, values, text, unit) in out.items()}
    labels = {"flow": FLOWS, "solver": SOLVERS, "functional": FUNCTIONALS, "case": TARGETS}
    labels |= {"state": ("uniform", "not_uniform"), "end": ("low", "high")}
    coordinates = {name: (name, list(values), {"long_name": name, "units": "1"}) for name, values in labels.items()}
    coordinates["bandwidth"] = ("bandwidth", np.array(bandwidths), {"long_name": "bandwidth h", "units": "length"})
    coordinates["step"] = ("step", np.array(steps), {"long_name": "step eta / h^2", "units": "1"})
    coordinates["n_particles"] = ("n_particles", sizes, {"long_name": "number of particles N", "units": "1"})
    coordinates["dimension"] = ("dimension", [1, 2], {"long_name": "dimension d", "units": "1"})
    return xr.Dataset(variables, coordinates, {"seed": seed, "amplitude": amplitude, "draws": draws, "bandwidth": _BANDWIDTH})


def _circle_variables(seed: int, bandwidths: Sequence[float], replicates: int, amplitude: float, reach: float) -> dict[str, tuple]:
    most = int(reach / min(bandwidths))
    shape = (len(FLOWS), len(SOLVERS), len(bandwidths), replicates)
    rate, decay, times = np.full((*shape, most), np.nan), np.full((*shape[:3], 41, most), np.nan), np.empty((len(bandwidths), 41))
    slopes, asymmetry = np.empty((*shape[:2], replicates)), np.empty((len(FLOWS), 2))
    for f, s in np.ndindex(shape[:2]):
        for r in range(replicates):
            scaled = []
            for b, h in enumerate(bandwidths):
                rng = generator(seed, "circle", SOLVERS[s], float(h), r)
                found = decay_rates(Circle(h), FLOWS[f], SOLVERS[s], amplitude=amplitude, particles=128, reach=reach, rng=rng)
                rate[f, s, b, r, : len(found.modes)] = found.rate
                scaled.append([(h * found.modes) ** 2, np.log(found.rate / found.modes**2)])
                if r == 0:
                    times[b], decay[f, s, b, :, : len(found.modes)] = found.times, found.decay
            slopes[f, s, r] = np.polyfit(*np.concatenate(scaled, axis=1), 1)[0]
        asymmetry[f] = [Circle(_BANDWIDTH).asymmetry(np.pad([1, size, 0.5j * size], (0, 62)), FLOWS[f]) for size in (0.0, 0.3)]
    interval = [[student_interval(each)[1] for each in row] for row in slopes]
    each = ("flow", "solver", "bandwidth")
    return {
        "rate": ((*each, "replicate", "mode"), rate, "decay rate of the Fourier mode of wave number mode + 1", "time^-1"),
        "decay": ((*each, "decay_output", "mode"), decay, "modulus of the mode over its start, first replicate", "1"),
        "decay_time": (("bandwidth", "decay_output"), times, "time of the score clock", "time"),
        "exponent": (("flow", "solver"), slopes.mean(-1), "slope of log(rate / k^2) against h^2 k^2", "1"),
        "exponent_interval": (("flow", "solver", "end"), interval, "95 % Student interval of the slope over replicates", "1"),
        "asymmetry": (("flow", "state"), asymmetry, "|S - S^T| / |S| of the response of the velocity to a displacement of mass", "1"),
    }


def _dissipation_variables(seed: int, particles: int, horizon: float) -> dict[str, tuple]:
    times = np.linspace(0.0, horizon, 21)
    found = []
    for flow_name in FLOWS:
        for case in TARGETS:
            functional, x = make_functional(case, _BANDWIDTH, seed=seed, particles=particles, replicate=0)
            print(f"{case}: {flow_name}", flush=True)
            found.append(dissipate(functional, x, times, flow_name))
    kl, rate, integral = np.moveaxis(np.reshape(found, (len(FLOWS), len(TARGETS), 3, -1)), 2, 0)
    dims = ("flow", "case", "output")
    return {
        "kl": (dims, kl, "KL(q_h || p_h)", "1"),
        "kl_rate": (dims, rate, "-(1/N) sum u_i . (K_h * V)(x_i)", "time^-1"),
        "kl_integral": (dims, integral, "time integral of that rate", "1"),
        "output_time": ("output", times, "time of the score clock", "time"),
    }


def _proximal_variables(seed: int, steps: Sequence[float], replicates: int, particles: int) -> dict[str, tuple]:
    shape, h = (len(FUNCTIONALS), len(FLOWS), 2, replicates, len(steps)), _BANDWIDTH
    distance, speed, moved = np.empty(shape), np.empty(shape[1:4]), np.empty((2, shape[0], *shape[2:]))
    for d, r in np.ndindex(shape[2:4]):
        functional, x = make_functional(("line", "plane")[d], h, seed=seed, particles=particles, replicate=r, margin=0.3)
        fields = (functional.drift(x), functional.smoothed_drift(x))
        speed[:, d, r] = [np.sqrt((u**2).sum(1).mean()) for u in fields]
        for p, potential in enumerate((functional.value, frozen_potential(functional, x))):
            for k, step in enumerate(steps):
                new = proximal_step(potential, x, step * h * h)
                distance[p, :, d, r, k] = [np.sqrt(((new - x - step * h * h * u) ** 2).sum(1).mean()) for u in fields]
                moved[:, p, d, r, k] = [(squared_w2(start, new).partner != np.arange(len(x))).mean() for start in (x, x[::-1])]
    each = ("functional", "flow", "dimension", "step_replicate", "step")
    return {
        "step_distance": (each, distance, "root mean square of the proximal step minus x + eta u", "length"),
        "speed": (each[1:4], speed, "root mean square of u", "length time^-1"),
        "reassigned": ((each[0], *each[2:]), moved[0], "share of particles that an exact assignment sends elsewhere", "1"),
        "reordered": ((each[0], *each[2:]), moved[1], "the same share for the start in reverse order", "1"),
    }
