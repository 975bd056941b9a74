"""Rounds of pfl's simulation in which clients train nothing. SIZE CLIENTS ROUNDS SITE_PACKAGES

One process, as pfl has it without Horovod; SITE_PACKAGES holds a torch, for its own environment has none.
"""

from __future__ import annotations

import itertools
import json
import logging
import sys
import time
from importlib.metadata import version
from typing import Any

sys.path.append(sys.argv[4])

import numpy as np
import torch
from pfl.aggregate.simulate import SimulatedBackend
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data.dataset import Dataset
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.sampling import get_user_sampler
from pfl.hyperparam import NNTrainHyperParams
from pfl.metrics import Metrics
from pfl.model.pytorch import PyTorchModel

SIZE, CLIENTS, ROUNDS = map(int, sys.argv[1:4])
TENSORS = 10


class Weights(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        for number in range(TENSORS):
            self.register_parameter(f"part{number}", torch.nn.Parameter(torch.randn(SIZE // 4 // TENSORS)))

    def loss(self, *_: Any) -> Any:
        raise NotImplementedError

    def metrics(self, *_: Any) -> dict[str, Any]:
        return {}


class Nothing(FederatedAveraging):
    """FedAvg whose local training changes one weight."""

    @torch.no_grad()
    def train_one_user(self, initial_model_state: Any, model: Any, user_dataset: Any, central_context: Any) -> Any:
        model.pytorch_model.part0[0] += 1
        return model.get_model_difference(initial_model_state), Metrics()


class Clock(TrainingProcessCallback):
    def __init__(self) -> None:
        self.ends: list[float] = []

    def after_central_iteration(self, aggregate_metrics: Any, model: Any, *, central_iteration: int) -> Any:
        self.ends.append(time.perf_counter())
        return False, Metrics()


def main() -> None:
    logging.disable(logging.INFO)
    net = Weights()
    model = PyTorchModel(net, torch.optim.SGD, torch.optim.SGD(net.parameters(), lr=1.0))
    sampler = get_user_sampler("minimize_reuse", list(range(CLIENTS)))
    data = FederatedDataset(lambda user: Dataset(raw_data=[np.zeros((1, 1))], user_id=str(user)), sampler)
    clock = Clock()
    Nothing().run(
        algorithm_params=NNAlgorithmParams(
            central_num_iterations=ROUNDS, evaluation_frequency=ROUNDS + 1, train_cohort_size=CLIENTS, val_cohort_size=0
        ),
        backend=SimulatedBackend(training_data=data, val_data=data),
        model=model,
        model_train_params=NNTrainHyperParams(local_num_epochs=1, local_learning_rate=1.0, local_batch_size=1),
        callbacks=[clock],
        send_metrics_to_platform=False,
    )
    seconds = [after - before for before, after in itertools.pairwise(clock.ends)]
    print(json.dumps({"seconds": seconds, "version": f"pfl {version('pfl')}"}))


main()
