"""Trajectories dx/dt = field(x) of ensembles of particles, with integrals carried along them."""

from driftrates.flow.driver import Checkpoint, IntegrationError, NonFiniteError, Record, State, Statistics, integrate
from driftrates.flow.methods import METHODS, DormandPrince, Euler, RungeKuttaChebyshev

__all__ = [
    "METHODS",
    "Checkpoint",
    "DormandPrince",
    "Euler",
    "IntegrationError",
    "NonFiniteError",
    "Record",
    "RungeKuttaChebyshev",
    "State",
    "Statistics",
    "integrate",
]
