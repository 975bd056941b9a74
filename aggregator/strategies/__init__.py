"""Server optimizers: one small module each, beside its paper; looked up by name, loaded when used.

Importing this imports no torch: options are checked at submit time, on machines that never average.
"""

from .checking import check

__all__ = ["check"]
