import torch
from torch.nn import Linear, ReLU, Sequential
from torch.utils.data import TensorDataset


def model(hidden=32):
    return Sequential(Linear(2, hidden), ReLU(), Linear(hidden, hidden), ReLU(), Linear(hidden, 2))


def data(client):
    chance = torch.Generator().manual_seed(client.seed + client.index)
    arm = (torch.rand(300, generator=chance) < (client.index + 1) / (client.count + 1)).long()
    turn = 5 * torch.rand(300, generator=chance) + 0.5
    points = torch.view_as_real(torch.polar(turn, turn + torch.pi * arm))
    return TensorDataset(points + 0.3 * torch.randn(300, 2, generator=chance), arm)
