"""The parts of the audit, a file or folder each; :mod:`seqsal.auditing.registry` lists them."""
