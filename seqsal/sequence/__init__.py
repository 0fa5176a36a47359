"""DNA sequences as arrays: codes, one-hot, reverse complement and shuffles.

This package imports neither of its modules: `codes` and `shuffle` need numpy only, `tensors` needs torch.
"""
