"""A table of your own, CSV or Parquet, with a schema in the job: no loader to write, also where sites have no Python.

`[data]` says where the file lies, what its columns are and which is predicted; docs/tasks.md, "Tables".
"""

# /// script
# dependencies = ["pyarrow>=15"]
# ///

import functools
import json
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import TensorDataset

from warren.trainer import partition as partitions
from warren.trainer import tables
from warren.trainer.schema import read_schema

TEST_EVERY = 5  # each fifth of the shuffled rows is held out
SPLIT_SEED = 0  # the same held-out rows for every job


def model(columns, target, hidden=32):
    """A small network, or with `hidden = 0` a linear model; `columns` and `target` are those of [data]."""
    schema = read_schema(columns, target)
    if hidden == 0:
        return nn.Linear(schema.width, schema.outputs)
    return nn.Sequential(nn.Linear(schema.width, hidden), nn.ReLU(), nn.Linear(hidden, schema.outputs))


def data(client, file, columns, target, by="", partition="iid", missing="mean", unknown="refuse",
         missing_words=tables.MISSING, **options):  # fmt: skip
    """One client's rows: a site has a table of its own, clients of a pool share one."""
    by = "" if client.site is not None else by
    table = read(client, file, columns, target, by, missing, unknown, missing_words)
    rows = rows_for(table.groups, held_out=False)
    if client.site is None:
        parts = parts_of(table, rows, client, by, partition, options)
        rows = rows[partitions.share(parts, client)]
    return as_dataset(*table.scaled(rows, by=rows))


def test_data(client, file, columns, target, by="", missing="mean", unknown="refuse", missing_words=tables.MISSING):
    """The rows that no client trains on; columns scaled by the client, by all the rows for training of the table."""
    by = "" if client.site is not None else by
    table = read(client, file, columns, target, by, missing, unknown, missing_words)
    training = rows_for(table.groups, held_out=False)
    return as_dataset(*table.scaled(rows_for(table.groups, held_out=True), by=training))


def read(client, file, columns, target, by, missing, unknown, missing_words):
    reading = tables.Reading(missing, unknown, tuple(missing_words), by)
    return read_once(Path(client.data_dir or "", file), json.dumps(columns), target, reading)


@functools.lru_cache(maxsize=2)
def read_once(path, columns, target, reading):
    return tables.read_table(path, read_schema(json.loads(columns), target), reading)


def rows_for(groups, held_out):
    """Each fifth row of a shuffle that is always the same, group by group; or the others. Ascending."""
    order = np.random.default_rng(SPLIT_SEED).permutation(len(groups))
    order = order[np.argsort(groups[order], kind="stable")]
    return np.sort(order[(np.arange(len(order)) % TEST_EVERY == 0) == held_out])


def parts_of(table, rows, client, by, partition, options):
    if by:
        return partitions.natural(table.groups[rows], client.count)
    labels = table.target[rows].reshape(len(rows)).round().astype(np.int64)
    return partitions.by_name(partition, labels, client.count, client.seed, **options)


def as_dataset(inputs, targets):
    return TensorDataset(torch.from_numpy(inputs), torch.from_numpy(targets))
