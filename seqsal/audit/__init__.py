"""Audit: whether a map is faithful to its model and plausible as biology, and whether the model lives on a shortcut."""
