"""Experiments on sequences: what a change does to a prediction, and how often chance does as much."""

from seqsal.experiments.api import insert, interactions, pair, remove, scan, space, swap
from seqsal.experiments.grammar import Grammar, name_grammar

__all__ = ["Grammar", "insert", "interactions", "name_grammar", "pair", "remove", "scan", "space", "swap"]
