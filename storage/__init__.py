"""Things at rest: objects (MinIO, or a folder), tensors, the layout of keys, job specs, manifests, the ledger.

Imports links. Only the modules named `torch_*` import torch.
"""
