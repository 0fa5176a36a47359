"""Experiments on sequences: what a change does to a prediction, and how often chance does as much."""
