"""From a job to the rule of its clients' training."""

from __future__ import annotations

from ...storage.rules import rule_name
from .diloco import DiLoCo
from .feddyn import FedDyn
from .fednova import FedNova
from .fedsam import FedSam
from .qfedavg import QFedAvg
from .rule import Given, Rule
from .scaffold import Scaffold

_RULES: dict[str, type[Rule]] = {
    "scaffold": Scaffold,
    "fednova": FedNova,
    "feddyn": FedDyn,
    "diloco": DiLoCo,
    "fedsam": FedSam,
    "qfedavg": QFedAvg,
}  # what stays with the client (personal, ditto) is no part of the training loop


def make_rule(given: Given) -> Rule | None:
    """The job's rule, or None where the loop is plain."""
    kind = _RULES.get(rule_name(given.spec))
    return None if kind is None else kind(given)
