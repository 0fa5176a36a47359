"""Experiments on sequences: what a change does to a prediction, and how often chance does as much."""

from seqsal.experiments.api import insert, pair, remove, scan, space, swap

__all__ = ["insert", "pair", "remove", "scan", "space", "swap"]
