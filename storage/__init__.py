"""Things at rest: objects (MinIO, or a folder), tensors, the layout of keys, job specs, manifests, the ledger.

Imports nothing of ours. Only `tensors` may import torch, and only when asked to.
"""
