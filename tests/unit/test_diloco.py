"""DiLoCo against its paper in numpy float64: moments that stay with the client, one count of steps, the outer step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made.federation import Federation, flat

from warren.aggregator.strategies import check
from warren.storage.errors import SpecInvalid
from warren.storage.job import make_spec

ROUNDS, CLIENTS, STEPS, LR, WARMUP, DECAY = 20, 4, 6, 0.02, 15.0, 100.0
B1, B2, EPS, WEIGHT_DECAY = 0.9, 0.999, 1e-8, 0.01
SIZE = 11
TASK = f"""
import torch
from torch import nn
from torch.utils.data import TensorDataset

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Parameter(torch.randn(2, 3))
        self.b = nn.Parameter(torch.randn(4))
        self.c = nn.Parameter(torch.randn(()))

    def forward(self, s):
        return torch.cat([p.flatten() for p in (self.a, self.b, self.c)]) * s

def model():
    return Model()

def loss(out, t):
    return ((out - t) ** 2).sum(1).mean() / 2

def data(client):
    chance = torch.Generator().manual_seed(client.index)
    s, t = torch.randn(2, 12, {SIZE}, generator=chance, dtype=torch.float64)
    return TensorDataset(s, t + client.index)
"""


class Client:
    """AdamW (Loshchilov, Hutter 2019, algorithm 2) on the client's examples, four a step, in their order."""

    def __init__(self, index: int) -> None:
        chance = torch.Generator().manual_seed(index)
        s, t = torch.randn(2, 12, SIZE, generator=chance, dtype=torch.float64)
        self.s, self.t = s.numpy(), t.numpy() + index
        self.m, self.v, self.count = np.zeros(SIZE), np.zeros(SIZE), 0

    def train(self, w: np.ndarray, job_round: int, *, counts: bool = True) -> np.ndarray:
        m, v, count = self.m, self.v, self.count
        for h in range(STEPS):
            rows = slice(4 * (h % 3), 4 * (h % 3) + 4)
            t = (job_round - 1) * STEPS + h
            rate = LR * min(1, (t + 1) / WARMUP) * (1 + np.cos(np.pi * min(1, t / DECAY))) / 2
            g = (self.s[rows] * (w * self.s[rows] - self.t[rows])).mean(0)
            count += 1
            m, v = B1 * m + (1 - B1) * g, B2 * v + (1 - B2) * g**2
            w = w - rate * WEIGHT_DECAY * w
            w = w - rate * (m / (1 - B1**count)) / (np.sqrt(v / (1 - B2**count)) + EPS)
        if counts:
            self.m, self.v, self.count = m, v, count
        return w


def federation(folder: Path) -> Federation:
    train = {
        "optimizer": "adamw", "lr": LR, "weight_decay": WEIGHT_DECAY, "steps": STEPS,
        "batch_size": 4, "shuffle": False, "precision": "fp64",
    }  # fmt: skip
    strategy = {"name": "diloco", "options": {"warmup": WARMUP, "decay": DECAY}}
    evaluate = {"share": 0.0, "every": 0}
    return Federation(folder, TASK, clients=CLIENTS, train=train, evaluate=evaluate, strategy=strategy)


def test_diloco_is_its_papers_for_20_rounds_with_lost_updates_and_clients_that_sit_out(tmp_path: Path) -> None:
    job = federation(tmp_path)
    theta, outer = flat(job.model()), np.zeros(SIZE)
    clients = [Client(index) for index in range(CLIENTS)]
    for number in range(1, ROUNDS + 1):
        drawn = [int(index) for index in np.random.default_rng(number).permutation(CLIENTS)]
        counted, lost = sorted(drawn[:2]), drawn[2]
        job.run([f"c{index:03}" for index in counted], [f"c{lost:03}"])
        clients[lost].train(theta, number, counts=False)
        delta = theta - np.mean([clients[index].train(theta, number) for index in counted], axis=0)
        outer = 0.9 * outer + delta
        theta = theta - 0.7 * (delta + 0.9 * outer)
        np.testing.assert_allclose(flat(job.model()), theta, rtol=1e-9, atol=1e-9)
    for index, client in enumerate(clients):
        kept = job.kept(f"c{index:03}")
        assert int(kept["count"]) == client.count
        np.testing.assert_allclose(flat(kept, "exp_avg/"), client.m, rtol=1e-9, atol=1e-12)


def spec(train: Mapping[str, Any], **options: Any) -> Any:
    task = {"name": "t", "file": "t.py", "digest": "0" * 64}
    return make_spec({"job": "j", "task": task, "train": train, "strategy": {"name": "diloco", "options": options}})


def test_a_schedule_over_inner_steps_needs_their_number() -> None:
    check(spec({"epochs": 1}))
    check(spec({"steps": 50}, warmup=100, decay=1000))
    with pytest.raises(SpecInvalid, match=r"train\.steps: diloco's schedule counts inner steps"):
        check(spec({"epochs": 1}, warmup=100))
