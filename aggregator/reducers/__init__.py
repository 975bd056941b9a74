"""Reducers: how a round's updates become one. A small module each, beside its paper; numpy only, no I/O, no torch.

All that Krum, Bulyan's choice, every Weiszfeld step and every clipping need is the matrix of inner products
of the updates' changes (n x n, float64): a pass over the updates builds it, a second combines them.
"""
