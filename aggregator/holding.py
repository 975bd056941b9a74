"""The most that a job can come to hold in the store, counted in models: known before anybody knows a model's size."""

from __future__ import annotations

from dataclasses import dataclass

from ..storage.job import JobSpec, keep_rule
from ..storage.rules import kept_at_site, rule_of
from .collecting import SWEEP_VERSIONS
from .retention import LATEST

STATES = {  # models' worth of float32
    "fedavg": 0,
    "fedavgm": 1,
    "fedadagrad": 1,
    "fedadam": 2,
    "fedyogi": 2,
    "diloco": 1,
    "fedexp": 0,
    "scaffold": 1,
    "feddyn": 1,
    "fednova": 0,
    "qfedavg": 0,
}
STATES_MAX = 3  # any optimizer of torch: Adam with amsgrad
IN_HAND = 2  # rounds beside those kept: the open one, and the one that is being collected
MOMENTS = 2  # models' worth that a client of DiLoCo keeps: AdamW's
DERIVED = 2  # final and best
FACTS_BYTES = 4096  # of an update's metrics and names, beside its tensors


@dataclass(frozen=True, slots=True)
class Most:
    """How many objects of a model's size a job holds at most, where each client makes one attempt a round."""

    updates: int
    checkpoints: int  # with the final and the best
    states: int  # the strategy's, each as large as the model
    kept: int = 0  # by clients
    beside: int = 0  # models' worth that each update carries beside the model

    @property
    def models(self) -> int:
        return self.updates * (1 + self.beside) + self.checkpoints + self.states + self.kept

    def size(self, model_bytes: int) -> int:
        """In bytes, once the size of a checkpoint is known; manifests and results are small beside it."""
        return self.models * model_bytes + self.updates * FACTS_BYTES


def most_held(spec: JobSpec) -> Most:
    """The bound for a job. Attempts that do not count come on top, until they are collected."""
    if spec.schedule.asynchronous:
        return _most_flowing(spec)
    rounds = min(spec.keep_updates + IN_HAND, spec.rounds)
    asked = len(spec.client_names) if spec.below_quorum == "resample" else spec.asked
    first = (len(spec.sites) or 1) if rounds == spec.rounds else 0
    kept = _checkpoints(spec)
    rule = rule_of(spec)
    in_store = rule.keeps != "nothing" and not kept_at_site(spec)
    by_clients = asked * rounds + len(spec.client_names) if in_store else 0
    by_clients *= MOMENTS if spec.strategy.name == "diloco" else 1
    states = states_of(spec) * kept
    return Most(asked * rounds + first, kept + DERIVED, states, by_clients, len(rule.sends))


def _most_flowing(spec: JobSpec) -> Most:
    """Of versions: what counted in those kept, one update of each client that counts in none yet, and their starts."""
    clients = len(spec.client_names)
    takes = {"fedasync": 1, "fedbuff": spec.schedule.buffer}.get(spec.schedule.kind, clients)
    updates = takes * min(spec.keep_updates + IN_HAND, spec.rounds) + clients + (len(spec.sites) or 1)
    starts = 0 if spec.keep_checkpoints == "all" else clients + SWEEP_VERSIONS
    kept = min(spec.rounds + 1, _checkpoints(spec) + starts)
    return Most(updates, kept + DERIVED, STATES.get(spec.strategy.name, STATES_MAX) * kept)


def still_to_come(spec: JobSpec, committed: int) -> int:
    """How many models' worth may be written beyond what is held after this round."""
    most = most_held(spec)
    left = spec.rounds - committed
    if spec.keep_checkpoints == "all":
        each = 1 + states_of(spec)
        return min(left, IN_HAND) * spec.asked * (1 + most.beside) + left * each + DERIVED + most.kept
    coming = min(left, IN_HAND) * spec.asked * (1 + most.beside)
    return min(most.models, coming + most.checkpoints + most.states + most.kept)


def _checkpoints(spec: JobSpec) -> int:
    """Checkpoints at a time; the one that the newest outdates is there until it is collected."""
    rule, count = keep_rule(spec.keep_checkpoints)
    if rule == "last":
        return min(spec.rounds + 1, max(LATEST, count) + 1)
    if rule == "every":
        return min(spec.rounds + 1, spec.rounds // count + 1 + LATEST + 1)
    return spec.rounds + 1


def states_of(spec: JobSpec) -> int:
    """Models' worth of state beside a checkpoint."""
    return STATES.get(spec.strategy.name, STATES_MAX) + bool(spec.strategy.options.get("ema"))
