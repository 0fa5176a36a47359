"""How long the work takes that no model is part of: rates, and how slow this machine is beside the one they are of.

All numbers that depend on a machine are here. They are CPU seconds of one thread of a server core (x86-64, 2 to 3 GHz),
measured by :func:`time.process_time` in whole runs on yeast, 61 to 5,000 windows of 200 to 2,000 bp with 176 and 1,019
known motifs, and rounded to one or two digits; single stages differ from them by up to a factor of two.
:func:`machine_slowness` times a sort, which took `SORT_SECONDS` of that core, and by that all rates are scaled: it sees
a slower processor, and one that others are using as well.
"""

from __future__ import annotations

import statistics
import time

import numpy as np

__all__ = [
    "audit_seconds",
    "browser_seconds",
    "discovery_seconds",
    "machine_slowness",
    "peaks_seconds",
    "report_seconds",
    "scan_seconds",
    "track_seconds",
]

SORT_SECONDS, SORTED, N_SORTS = 0.0215, 1 << 18, 9
BIGWIG_START, BIGWIG_WINDOW, BIGWIG_MBP = 0.3, 2e-4, 0.1
PEAKS_START, PEAKS_WINDOW, PEAKS_MBP = 0.04, 5e-5, 0.05
SCAN_START, SCAN_MATRIX, SCAN_MATRIX_MBP = 0.5, 9e-4, 2e-3
KMERS_SEQLET = 5e-4
MODISCO_START, MODISCO_PAIR, MODISCO_NEIGHBOURS = 3.0, 9e-5, 500  # the start loads its kernels
AUDIT_START, AUDIT_PREDICTED_MBP = 3.0, 0.03
PLACED_MBP = 0.02  # a random placement of annotations
ARTIFACTS_START, ARTIFACTS_MBP = 1.2, 1.5
BROWSER_START, BROWSER_WINDOW = 0.04, 1e-5
REPORT_START = 3.0


def machine_slowness() -> float:
    """Time this machine takes for what took one second where the rates were measured; about 0.2 s of work."""
    values = np.random.default_rng(0).random(SORTED)
    seconds = []
    for _ in range(N_SORTS):
        start = time.perf_counter()
        np.sort(values, kind="stable")  # the same code on every processor; other kinds choose by instruction set
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds) / SORT_SECONDS


def track_seconds(n_windows: int, length: int) -> float:
    """Write the table of scores and the bigWig of windows."""
    return BIGWIG_START + n_windows * (BIGWIG_WINDOW + BIGWIG_MBP * length / 1e6)


def peaks_seconds(n_windows: int, n_controls: int, length: int) -> float:
    """Call peaks of windows against controls."""
    return PEAKS_START + (n_windows + n_controls) * (PEAKS_WINDOW + PEAKS_MBP * length / 1e6)


def scan_seconds(n_matrices: int, n_bp: int) -> float:
    """Scan bases for matrices; 0 without any."""
    return SCAN_START + n_matrices * (SCAN_MATRIX + SCAN_MATRIX_MBP * n_bp / 1e6) if n_matrices else 0.0


def discovery_seconds(n_seqlets: int, least_for_modisco: int) -> float:
    """Find the patterns among the seqlets of one sign: TF-MoDISco compares each with up to 500 neighbours."""
    if n_seqlets < least_for_modisco:
        return n_seqlets * KMERS_SEQLET
    return MODISCO_START + n_seqlets * min(n_seqlets, MODISCO_NEIGHBOURS) * MODISCO_PAIR


def audit_seconds(*, predicted_bp: int, placed_bp: int, n_placements: int, artifacts_bp: int) -> float:
    """Do what an audit does beside asking the model and scanning for motifs.

    Parameters
    ----------
    predicted_bp
        Bases of the sequences that are predicted, which are made before.
    placed_bp, n_placements
        Bases among which, and how many times, spans are placed at random.
    artifacts_bp
        Bases that are searched for artifacts.
    """
    made, placed = AUDIT_PREDICTED_MBP * predicted_bp, PLACED_MBP * placed_bp * n_placements
    return AUDIT_START + ARTIFACTS_START + (made + placed + ARTIFACTS_MBP * artifacts_bp) / 1e6


def browser_seconds(n_windows: int) -> float:
    """Write the browser bundle, which refers to the bigWig of the run."""
    return BROWSER_START + n_windows * BROWSER_WINDOW


def report_seconds() -> float:
    """Write the page, which shows a bounded number of everything."""
    return REPORT_START
