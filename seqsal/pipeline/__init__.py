"""The whole analysis in one folder: its inputs, its stages, its record, and what a file of seqsal is."""
