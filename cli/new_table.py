"""What `warren new NAME --csv FILE` writes: a task that reads such a table, and its job."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .table_file import Table

_TASK = '''\
"""@NAME@: predicts @TARGET@ from the other columns of a table. Made by `warren new`, and yours to change."""

import csv
import functools
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import Subset, TensorDataset

from warren.trainer import partition as partitions

# What every client must read alike; from @FILE@ as it was. These numbers and words travel with the task.
DELIMITER = @DELIMITER@
TARGET = @TARGET_STRING@
@TARGET_FACTS@
NUMBERS = @NUMBERS@
WORDS = @WORDS@
INPUTS = len(NUMBERS) + sum(map(len, WORDS.values()))
TEST_EVERY = 5  # each fifth of the shuffled rows is held out


def model(hidden=32):
    """A small network. Its arguments stand in the job's [params]."""
    return nn.Sequential(nn.Linear(INPUTS, hidden), nn.ReLU(), nn.Linear(hidden, @OUTPUTS@))


def data(client, file, partition="iid", by="", **options):
    """One client's rows: a site has a table of its own, clients of a pool share one; [data] says how."""
    table, groups = read(place(client, file), by)
    train = rows_for(groups, held_out=False)
    if client.site is not None:
        return Subset(table, train)
    if by:
        parts = partitions.natural([groups[row] for row in train], client.count)
    else:
        parts = partitions.by_name(partition, @LABELS@, client.count, client.seed, **options)
    return Subset(table, [train[row] for row in partitions.share(parts, client).tolist()])


def test_data(client, file, by=""):
    """The rows that no client trains on."""
    table, groups = read(place(client, file), by)
    return Subset(table, rows_for(groups, held_out=True))

@METRICS@
def place(client, file):
    """The table: in the folder given with --data-dir, else where the trainer was started."""
    path = Path(client.data_dir or "", file)
    if not path.is_file():
        raise FileNotFoundError(f"no table {path}: name its folder with --data-dir, or its file under [data]")
    return path


@functools.lru_cache(maxsize=4)
def read(path, by):
    """(inputs and targets, the value of column `by` in each row). Rows without a target are left out."""
    inputs, targets, groups = [], [], []
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file, delimiter=DELIMITER, skipinitialspace=True)
        rows.fieldnames = [name.strip() for name in rows.fieldnames or []]
        missing = sorted({TARGET, *NUMBERS, *WORDS, *([by] if by else [])} - set(rows.fieldnames))
        if missing:
            raise ValueError(f"{path.name} has no column {', '.join(missing)}")
        for number, row in enumerate(rows, start=2):
            if (row[TARGET] or "").strip():
                inputs.append(numbers_of(row, number))
                targets.append(target_of(row[TARGET].strip(), number))
                groups.append((row[by] or "").strip() if by else "")
    return TensorDataset(torch.tensor(inputs), torch.tensor(targets)), groups


def numbers_of(row, line):
    """A row as numbers: scaled, a missing one as the mean; each word as a place of its own, a new one as none."""
    try:
        found = [(float(row[name]) - mean) / deviation if (row[name] or "").strip() else 0.0
                 for name, (mean, deviation) in NUMBERS.items()]
    except ValueError as error:
        raise ValueError(f"line {line}: {error}") from None
    return found + [float((row[name] or "").strip() == word) for name, words in WORDS.items() for word in words]


def target_of(cell, line):
@TARGET_CODE@


def rows_for(groups, held_out):
    """Each fifth row of a shuffle that is always the same, group by group; or the others."""
    order = torch.randperm(len(groups), generator=torch.Generator().manual_seed(0)).tolist()
    order.sort(key=lambda row: groups[row])
    return sorted(row for place, row in enumerate(order) if (place % TEST_EVERY == 0) == held_out)
'''

_CLASS_CODE = """\
    if cell not in CLASSES:
        raise ValueError(f"line {line}: {TARGET} {cell!r} is none of {', '.join(CLASSES)}")
    return CLASSES.index(cell)"""

_NUMBER_CODE = """\
    mean, deviation = SCALE
    try:
        return [(float(cell) - mean) / deviation]
    except ValueError as error:
        raise ValueError(f"line {line}: {error}") from None"""

_NUMBER_METRICS = '''
def metrics(outputs, targets):
    """How far off, in the column's own unit: the sum over the batch, and of how many."""
    return {"error": (float((outputs - targets).abs().sum()) * SCALE[1], len(targets))}

'''

_JOB = """\
# The job: `warren check` it, `warren run` it here, `warren submit` it to servers. Every key: docs/configuration.md
task = @TASK@
clients = @CLIENTS@         # @WHO@. With real sites, each with a table of its own: sites = ["st-mary", "general"]
rounds = 10
quorum = "80%"       # of those asked: with so many a round may close at its deadline
deadline = "2m"
seed = 0             # the same seed gives the same bytes

[train]              # the work of one client in one round
epochs = 2
batch_size = 16
optimizer = "adam"   # any of torch.optim, in small letters
lr = 0.005

[strategy]
name = "fedavg"      # or fedavgm, fedadam, fedyogi, fedadagrad

[params]             # the arguments of model()
hidden = 32

[data]               # further arguments of data()
file = @FILE@   # looked for in --data-dir, else in the folder where trainers are started
@DEALING@
"""


def table_task(name: str, table: Table) -> str:
    """The task's source."""
    classes = f"CLASSES = {_literal(table.classes)}"
    scale = f"SCALE = {table.target_scale}  # mean and deviation of {table.target}"
    return _filled(
        _TASK,
        NAME=name,
        TARGET=" ".join(table.target.replace('"', "'").replace("\\", "/").split()),
        FILE=" ".join(table.file.name.split()),
        DELIMITER=_literal(table.delimiter),
        TARGET_STRING=_literal(table.target),
        TARGET_FACTS=classes if table.classes else scale,
        NUMBERS=_lines({column: tuple(scale) for column, scale in table.numbers.items()}, "column: (mean, deviation)"),
        WORDS=_lines(table.words, "column: what it may hold"),
        OUTPUTS="len(CLASSES)" if table.classes else "1",
        LABELS="table.tensors[1][train].numpy()" if table.classes else "table.tensors[1][train, 0].round().numpy()",
        METRICS="" if table.classes else _NUMBER_METRICS,
        TARGET_CODE=_CLASS_CODE if table.classes else _NUMBER_CODE,
    )


def table_job(name: str, task: str, table: Table) -> str:
    """The job file."""
    dealing = 'partition = "iid"    # or "dirichlet" with alpha = 0.5, "shards", "quantity-skew", …: docs/tasks.md'
    return _filled(
        _JOB,
        TASK=json.dumps(task),
        CLIENTS=str(table.clients),
        WHO=f"one for each {' '.join(table.by.split())}" if table.by else "among which the rows are dealt out",
        FILE=json.dumps(str(table.file), ensure_ascii=False),
        DEALING=f"by = {json.dumps(table.by, ensure_ascii=False)}" if table.by else dealing,
    )


def _filled(text: str, **values: str) -> str:
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    return text


def _lines(values: Mapping[str, Any], what: str) -> str:
    if not values:
        return "{}"
    return "".join(["{  # ", what, "\n", *(f"    {_literal(k)}: {_literal(v)},\n" for k, v in values.items()), "}"])


def _literal(value: object) -> str:
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list):
        return f"[{', '.join(map(_literal, value))}]"
    return repr(value)
