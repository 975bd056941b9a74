"""Synthetic(alpha, beta) of FedProx with stragglers, as in its authors' experiments (section 5.2).

Of the clients asked in a round, a share has no time for all E epochs, only for 1 to E - 1 of them, drawn evenly.
With `drop` they fail instead, as FedAvg drops them. Who it is follows from (seed, round) in a generator of its own:
the same for every algorithm that is compared.
"""

import dataclasses
import functools
import random

from warren.aggregator.plan import first_plan
from warren.storage.job import JobSpec, TaskRef
from warren.trainer.local import train_weights
from warren.trainer.tasks import synthetic


def model(stragglers=0.0, drop=False, clients=30, selected=10, job_seed=0):
    made = synthetic.model()
    made.stragglers, made.drop = stragglers, drop
    made.drawing = (clients, selected, job_seed)
    return made


def data(client, alpha=1.0, beta=1.0):
    return synthetic.data(client, alpha, beta)


def test_data(client, alpha=1.0, beta=1.0):
    return synthetic.test_data(client, alpha, beta)


def train(model, dataset, context):
    """Warren's own loop, over fewer epochs where this client straggles."""
    epochs = context.train.epochs
    late = stragglers(*model.drawing, context.round, model.stragglers)
    if context.client.name in late:
        if model.drop:
            raise TimeoutError("a straggler, dropped")
        epochs = random.Random(f"{model.drawing[2]}/work/{context.round}/{context.client.name}").randint(1, epochs - 1)
    shortened = context.train.model_copy(update={"epochs": epochs})
    return train_weights(model, dataset, dataclasses.replace(context.setting, train=shortened)).metrics


@functools.lru_cache(maxsize=4)
def stragglers(clients, selected, seed, round_number, share):
    """The names of this round's stragglers, among those that Warren asks in it."""
    reference = TaskRef(name="any", file="any.py", digest="0" * 64)
    spec = JobSpec(job="any", task=reference, clients=clients, fraction=selected / clients, seed=seed, quorum=1)
    asked = first_plan(spec, round_number, None).clients
    chance = random.Random(f"{seed}/stragglers/{round_number}")
    return frozenset(chance.sample(asked, round(share * len(asked))))
