"""DNA sequences as arrays: codes, one-hot, reverse complement, and everything random.

This package imports neither of its modules: `codes` and `draws` need numpy only, `tensors` needs torch.
"""
