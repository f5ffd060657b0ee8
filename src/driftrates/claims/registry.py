"""Every statement that the ledger must answer for, by the part of the papers in which it stands."""

from __future__ import annotations

SECTIONS: dict[str, tuple[str, ...]] = {
    "A 1-2: kernels and fields": ("Fig1", "s1-gaussian", "A2.1", "A2.3", "R2.4", "A2.5", "R2.6", "R2.7"),
    "A 3: entropy": ("T3.1", "R3.2"),
    "A 4: conservative rates": ("T4.1", "L4.3", "L4.4", "T4.5", "R4.6", "C4.7", "s4.3", "R4.8"),
    "A 5: occupancy": ("A5.1", "P5.2", "A5.3", "R5.4", "P5.5", "A5.6", "L5.7", "P5.8", "C5.9"),
    "A 6: the Laplace method": (
        *("L6.1", "A6.2", "eq53", "T6.3", "L6.4", "A6.5", "L6.6", "A6.7", "T6.9"),
        *("R6.10", "R6.11", "C6.12", "L6.13", "L6.14", "s6.6", "s6.7"),
    ),
    "A, appendix: training": ("eq72", "eq73", "A-Euler", "A-inexact", "generator"),
    "Beside A": tuple(f"X{n}" for n in range(1, 13)),
    "B: the abstract": ("B1", "B2", "B3", "B3'", "B3''", "B4", "B5", "B6", "B7"),
    "Beside B": ("Alg2", "SVGD", "MMD"),
}
"""Ids of the statements of paper A (by section), of its appendix, of paper B, and of what is added here beside them, in their order.

T, L, P, C, R, A: theorem, lemma, proposition, corollary, remark, assumption; s: section; eq: equation; X: a statement of this project;
B1 to B7: statements of the abstract of paper B.
"""

IDS: tuple[str, ...] = tuple(id for ids in SECTIONS.values() for id in ids)
