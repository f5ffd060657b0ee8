"""Small results over which the texts, captions and templates of the workflow can be filled and laid out."""

import re
from pathlib import Path

import pandas as pd

from driftrates.claims.registry import IDS
from driftrates.paper import Results

ROOT = Path(__file__).parents[1]
TEXT, CAPTIONS = ROOT / "workflow/paper", ROOT / "workflow/report"
OUTLINE = (ROOT / "workflow/rules/outline.smk").read_text()


def named(start, end):
    """Keys of one mapping of the outline."""
    return re.findall(r'(?m)^    "(\w+)": \{', OUTLINE[OUTLINE.index(start) : OUTLINE.index(end)])


FIGURES = [*named("FIGURES = {", "RUNS = ["), "claims_overview"]
TABLES = [*named("TABLES = {", "FIGURES = {"), "runtime"]


def ledger_row(id, verdict="holds", control="caught", **more):
    return {
        "id": id,
        "kind": "identity",
        "statement": f"what {id} says",
        "quantity": "a residual",
        "measured": 0.25,
        "predicted": 0.0,
        "margin": 1.0,
        "cases": 3,
        "uncertainty": 0.5,
        "verdict": verdict,
        "control": control,
        "source": "a place",
        **more,
    }


def small_results():
    """Two checks of every statement, and tables of one row with the columns that the text asks for."""
    claims = pd.DataFrame([ledger_row(f"{id}/{case}") for id in IDS for case in ("first", "second")])
    rows = {
        "rate_exponents": {"d": 2, "N": "8 to 32", "carrier": "late fisher", "path": "diagonal", "exponent": -0.34567}
        | {"BCa interval": "[-0.4, -0.3]", "predicted": -0.333, "verdict": "attained"},
        "constants": {"kernel": "gaussian"},
        "laplace_constants": {"d": 2, "A over": "particles", "q# outside [a, A]": 0.6},
        "laplace_rate_exponents": {"quantity": "distance", "rule for h": "occupancy", "last": 0.03, "exponent of 1/h": "-0.1 [-0.2, -0.1]"},
        "spectral_rates": {"kernel": "Gaussian", "clock": "score"},
        "occupancy_failures": {"law": "uniform cube", "N h^d / log N": 8.0, "verdict": "vacuous"},
        "method_comparison": {"method": "conservative", "W2": "0.269 [0.239, 0.303]", "admissible step": 2.4},
        "convergence_times": {"schedule": "best fixed", "fitted": "1.54 [1.49, 1.59]"},
        "annealing_winners": {"case": "d = 1", "evaluations": 8, "winner": "annealed"},
        "field_comparison": {"field": "Sinkhorn", "h": 0.3, "modes covered": "8 ± 0", "pairs per evaluation": 8.26e5},
        "generator_quality": {"data": "digits", "W2 generator": "4.2 ± 0.5", "W2 particles": "3.2 ± 0.2", "W2 data": "3.4 ± 0.4"},
        "integrator_exponents": {"case": "conservative, d = 1", "integrator": "euler", "exponent of 1/h": "1.98 [1.9, 2.1]"}
        | {"error below": "0.01 h", "passes, largest h": 8.0, "passes, least h": 32.0, "over RKC": 3.7},
        "runtime": {"stage": "simulate_flow", "wildcards": "mine", "seconds": 90.0, "peak_memory_mib": 200.0, "engine": "cpu"}
        | {"device": "cpu"},
    }
    tables = {name: pd.DataFrame([rows.get(name, {"case": "only", "value": 1.5, "quantity": -2e-9})] * 2) for name in TABLES}
    tables["kernels"] = pd.DataFrame(
        [{"kernel": f"kernel {i}", **{f"a long name of column {c}": i * c / 7 for c in range(12)}} for i in range(60)]
    )
    attributes = {
        "flow/mine": {
            "source": "driftrates 0.1.0",
            "source_digest": "a" * 32,
            "engine": "cpu (2 passes, 1200 pairs)",
            "device": "cpu",
            "seed": "7",
        },
        "kernels": {"source": "driftrates 0.1.0", "source_digest": "b" * 32, "versions": "numpy 2.4.6", "dtype": "float64"},
    }
    return Results(claims, tables, attributes)
