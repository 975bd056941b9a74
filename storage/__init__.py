"""Things at rest: objects (MinIO, or a folder), tensors, the layout of keys, job specs, manifests, the ledger.

Imports links. Only `tensors` may import torch, and only when asked to.
"""
