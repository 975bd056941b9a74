"""How much a stale update counts: the rules of the asynchronous schedules, each beside its paper. No torch.

t    staleness of an update: versions that were made between the one it started from and the one it goes into
s(t) its discount, with s(0) = 1 (Xie, Koyejo, Gupta 2019, Asynchronous Federated Optimization, section 5.2):
         constant      1
         polynomial    (1 + t)^-a
         hinge         1 for t <= b, else 1 / (a (t - b) + 1)

fedasync  w_n = (1 - alpha_t) w_(n-1) + alpha_t w_new,  alpha_t = alpha s(t)       (the same, algorithm 1)
fedbuff   w_n = w_(n-1) + 1/K sum_i s(t_i) D_i          over the K updates of the buffer; their s(t) is
          (1 + t)^-1/2 (Nguyen et al. 2022, Federated Learning with Buffered Asynchronous Aggregation,
          algorithm 1); the server's rate is the strategy's
ssp       w_n = w_(n-1) + 1/N sum_i D_i                 over those that are in, N the clients of the job
          (Ho et al. 2013, More Effective Distributed ML via a Stale Synchronous Parallel Parameter Server)

D_i is what the client sent: its change, or minus its gradient, which then goes through the job's strategy.
"""

from __future__ import annotations

from ..storage.documents import Entry, Manifest
from ..storage.job import JobSpec
from ..storage.schedule import ScheduleSpec
from .strategies.counted import weight


def staleness(manifest: Manifest, entry: Entry) -> int:
    """t: 0 where the update started from the version before this one."""
    return manifest.round - manifest.round_of(entry)


def discount(schedule: ScheduleSpec, t: int) -> float:
    """s(t)."""
    if schedule.discount == "constant":
        return 1.0
    if schedule.discount == "polynomial":
        return float((1.0 + t) ** -schedule.a)
    return 1.0 if t <= schedule.b else 1.0 / (schedule.a * (t - schedule.b) + 1.0)


def weight_of(spec: JobSpec, entry: Entry, t: int = 0) -> float:
    """How much an update counts among those of its round, or of its version at this staleness."""
    if spec.schedule.kind == "fedbuff":
        return discount(spec.schedule, t)
    return weight(spec, entry)


def shrinking(spec: JobSpec, manifest: Manifest) -> float:
    """What the weighted mean of a version's updates is multiplied by: less than 1 where they are few, or stale."""
    parts = spec.schedule.buffer if spec.schedule.kind == "fedbuff" else spec.client_count
    if spec.schedule.kind not in ("fedbuff", "ssp"):
        return 1.0
    return sum(weight_of(spec, entry, staleness(manifest, entry)) for entry in manifest.entries) / parts


def mixing(spec: JobSpec, manifest: Manifest) -> float:
    """alpha_t: the share of the update in the new model; 1 where the schedule does not mix."""
    if spec.schedule.kind != "fedasync":
        return 1.0
    (entry,) = manifest.entries
    return spec.schedule.alpha * discount(spec.schedule, staleness(manifest, entry))
