"""The whole analysis in one folder: what a run is given, its stages, and its record."""
