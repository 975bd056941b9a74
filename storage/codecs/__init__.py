"""How an update's tensors are written smaller, and read back with no trust in the sender. numpy, no torch.

`packing` is the way in; `cast`, `int8` and `topk` are one method each. Imports only `storage`.
"""
