"""Tables with a schema: what is read of CSV and Parquet, and how a mistake in them is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from pyarrow import csv as arrow_csv

from warren.cli.main import call
from warren.storage.errors import SpecInvalid
from warren.storage.job import make_spec, read_spec, write_spec
from warren.trainer import table_files
from warren.trainer.errors import TaskError
from warren.trainer.schema import SchemaMistake, read_schema
from warren.trainer.tables import Reading, TableMistake, read_table
from warren.trainer.task import Client, Task, load_task, shipped
from warren.trainer.task_calls import build_model, client_data, held_out_data

COLUMNS: dict[str, Any] = {
    "age": {"mean": 50.0, "deviation": 10.0},
    "dose": {"scale": "client"},
    "rooms": "number",
    "sex": ["f", "m"],
    "outcome": ["well", "ill"],
}
SCHEMA = read_schema(COLUMNS, "outcome")
HEADER = "age,dose,rooms,sex,outcome,clinic\n"
ROWS = ["40,1,2,f,well,b", "60,3,2,m,ill,a", "50,2,1,f,ill,a", "70,6,3,m,well,b"]


def write(path: Path, rows: list[str], header: str = HEADER) -> Path:
    path.write_text(header + "\n".join(rows) + "\n")
    return path


def write_parquet(path: Path) -> Path:
    """The rows of ROWS in types of their own: integers, floats, words, coded words."""
    cells = list(zip(*(row.split(",") for row in ROWS), strict=True))
    table = pa.table(
        {
            "age": pa.array(map(int, cells[0])),
            "dose": pa.array(map(float, cells[1]), pa.float32()),
            "rooms": pa.array(map(int, cells[2]), pa.int8()),
            "sex": pa.array(cells[3]).dictionary_encode(),
            "outcome": pa.array(cells[4]),
            "clinic": pa.array(cells[5]),
        }
    )
    pq.write_table(table, path)
    return path


def table_of(rows: list[str], folder: Path, **reading: Any) -> Any:
    return read_table(write(folder / "t.csv", rows), SCHEMA, Reading(**reading))


def task() -> Task:
    path = shipped("table")
    assert path is not None
    return load_task(path)


def client(folder: Path, index: int = 0, count: int = 2, site: str | None = None) -> Client:
    return Client(site or f"c{index}", index, count, site, folder, seed=3)


def options(**more: Any) -> dict[str, Any]:
    return {"file": "t.csv", "columns": COLUMNS, "target": "outcome", **more}


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_columns_become_inputs_in_the_jobs_order_and_classes(kind, tmp_path):
    path = write(tmp_path / "t.csv", ROWS) if kind == "csv" else write_parquet(tmp_path / "t.parquet")
    table = read_table(path, SCHEMA, Reading(by="clinic"))
    assert table.inputs.tolist() == [[-1, 1, 2, 1, 0], [1, 3, 2, 0, 1], [0, 2, 1, 1, 0], [2, 6, 3, 0, 1]]
    assert table.target.tolist() == [0, 1, 1, 0]
    assert table.groups.tolist() == [1, 0, 0, 1]
    assert table.own == (1,)


def test_a_number_is_a_target_of_its_own_scale(tmp_path):
    schema = read_schema({**COLUMNS, "outcome": ["well", "ill"]}, "age")
    table = read_table(write(tmp_path / "t.csv", ROWS), schema, Reading())
    assert table.target.tolist() == [[-1.0], [1.0], [0.0], [2.0]]
    assert schema.outputs == 1


def test_client_scaled_columns_follow_each_clients_own_rows(tmp_path):
    table = table_of(ROWS, tmp_path)
    inputs, _ = table.scaled(np.array([0, 1]), by=np.array([0, 1]))
    assert inputs[:, 1].tolist() == [-1.0, 1.0]  # 1 and 3: mean 2, deviation 1
    inputs, _ = table.scaled(np.array([3]), by=np.array([0, 1]))
    assert inputs[:, 1].tolist() == [4.0]
    assert table.scaled(np.array([0]), by=np.array([0]))[0][0, 1] == 0.0


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_other_delimiters_quotes_spaces_and_a_byte_order_mark_are_read(tmp_path, delimiter):
    path = tmp_path / "t.csv"
    rows = [HEADER.strip(), *ROWS, '" 55 ", 2 ,2,"m",ill,"two\nlines"']
    path.write_text("\n".join(row.replace(",", delimiter) for row in rows), encoding="utf-8-sig")
    table = read_table(path, SCHEMA, Reading(by="clinic"))
    assert table.inputs[4].tolist() == [0.5, 2.0, 2.0, 0.0, 1.0]
    assert len(table.groups) == 5


def test_a_missing_value_is_the_mean_or_none_of_the_words(tmp_path):
    table = table_of([*ROWS, ",NA,2,,ill,a"], tmp_path)
    inputs, _ = table.scaled(np.arange(5), by=np.arange(5))
    assert inputs[4].tolist() == [0.0, 0.0, 2.0, 0.0, 0.0]


def test_rows_without_a_target_are_left_out_whatever_else_they_hold(tmp_path):
    assert len(table_of([*ROWS, ",,,x,,a"], tmp_path).target) == 4


def test_rows_with_a_gap_are_dropped_or_refused_where_the_job_says_so(tmp_path):
    rows = [*ROWS, ",1,2,f,ill,a"]
    assert len(table_of(rows, tmp_path, missing="drop").target) == 4
    with pytest.raises(TableMistake, match=r"t\.csv row 6, column age: is missing"):
        table_of(rows, tmp_path, missing="refuse")


def test_a_word_that_stands_for_missing_is_a_word_where_the_schema_has_it(tmp_path):
    schema = read_schema({"region": ["NA", "EU"], "outcome": ["well", "ill"]}, "outcome")
    path = write(tmp_path / "t.csv", ["NA,well", "EU,ill", "nan,ill"], "region,outcome\n")
    assert read_table(path, schema, Reading()).inputs.tolist() == [[1, 0], [0, 1], [0, 0]]


def test_unknown_words_may_be_none_of_the_words(tmp_path):
    assert table_of([*ROWS, "40,1,2,x,ill,a"], tmp_path, unknown="none").inputs[4].tolist()[3:] == [0, 0]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (["4O,1,2,f,well,b"], r"t\.csv row 2, column age: '4O' is no number"),
        ([*ROWS, "40,1e999,2,f,well,b"], r"t\.csv row 6, column dose: infinite"),
        ([*ROWS, "40,1,,f,well,b"], r"t\.csv row 6, column rooms: is missing, and the column has no mean"),
        ([*ROWS, "40,1,2,male,well,b"], r"t\.csv row 6, column sex: 'male' is none of f, m"),
        ([*ROWS, "40,1,2,m,dead,b"], r"t\.csv row 6, column outcome: 'dead' is none of well, ill"),
        ([*ROWS, "40,1,2"], r"t\.csv row 6: 3 cells, and the header has 6"),
        (["40,1,2,f,,b"], r"t\.csv: no row has a outcome"),
        ([], r"t\.csv has no rows"),
    ],
)
def test_a_mistake_in_a_table_is_told_with_file_row_and_column(rows, words, tmp_path):
    with pytest.raises(TableMistake, match=words):
        table_of(rows, tmp_path)


def test_what_is_no_such_table_is_told(tmp_path, monkeypatch):
    with pytest.raises(TableMistake, match=r"has no column rooms; it has age, dose, sex, outcome"):
        read_table(write(tmp_path / "t.csv", ["1,2,f,ill"], "age,dose,sex,outcome\n"), SCHEMA, Reading())
    with pytest.raises(TableMistake, match="has the column age twice"):
        read_table(write(tmp_path / "t.csv", ["1,2,3,f,ill,1"], "age,dose,rooms,sex,outcome,age\n"), SCHEMA, Reading())
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(TableMistake, match=r"bad\.parquet: "):
        read_table(tmp_path / "bad.parquet", SCHEMA, Reading())
    (tmp_path / "latin.csv").write_bytes(HEADER.encode() + "40,1,2,f,wéll,b\n".encode("latin-1"))
    with pytest.raises(TableMistake, match=r"latin\.csv: .*UTF8"):
        read_table(tmp_path / "latin.csv", SCHEMA, Reading())
    pq.write_table(pa.table({"age": pa.array([[1, 2]]), "outcome": ["ill"]}), tmp_path / "list.parquet")
    schema = read_schema({"age": "number", "outcome": ["well", "ill"]}, "outcome")
    with pytest.raises(TableMistake, match=r"list\.parquet column age: list.* is neither numbers nor words"):
        read_table(tmp_path / "list.parquet", schema, Reading())
    with pytest.raises(FileNotFoundError, match=r"no table .*gone\.csv: name its folder with --data-dir"):
        read_table(tmp_path / "gone.csv", SCHEMA, Reading())
    monkeypatch.setattr(table_files, "ROWS_MAX", 3)
    for path in (write(tmp_path / "t.csv", ROWS), write_parquet(tmp_path / "t.parquet")):
        with pytest.raises(TableMistake, match=r"over 3 rows"):
            read_table(path, SCHEMA, Reading())


@pytest.mark.parametrize(
    ("columns", "target", "words"),
    [
        ({"a": "number"}, "a", "must name 2 to"),
        ({"a": "number", "b": "number"}, "c", "'c' is none of the columns a, b"),
        ({"a": "nubmer", "b": "number"}, "b", "column a: 'nubmer' is none of"),
        ({"a": {"mean": 1}, "b": "number"}, "b", "column a: "),
        ({"a": {"mean": 1, "deviation": 0}, "b": "number"}, "b", "deviation 0.0 above 0"),
        ({"a": ["x"], "b": "number"}, "b", "column a: give 2 to"),
        ({"a": ["x", "x"], "b": "number"}, "b", "different words"),
        ({"a": "number", "b": {"scale": "client"}}, "b", "target b: clients that scale it"),
    ],
)
def test_a_schema_that_can_not_be_is_told(columns, target, words):
    with pytest.raises(SchemaMistake, match=words):
        read_schema(columns, target)


def test_words_of_a_schema_may_be_written_as_numbers(tmp_path):
    schema = read_schema({"a": "number", "b": [0, 1.0]}, "b")
    pq.write_table(pa.table({"a": [1.0, 2.0], "b": [1.0, 0.0]}), tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet", schema, Reading()).target.tolist() == [1, 0]


def many(folder: Path) -> Path:
    rows = [
        f"{20 + n % 60},{n % 7},{n % 4},{'fm'[n % 2]},{['well', 'ill'][n % 60 > 30]},{'abc'[n % 3]}" for n in range(300)
    ]
    return write(folder / "t.csv", rows)


def test_the_task_deals_a_table_out_to_a_pool_and_holds_a_fifth_out(tmp_path):
    many(tmp_path)
    shares = [client_data(task(), client(tmp_path, n, 4), options(partition="dirichlet")) for n in range(4)]
    held = held_out_data(task(), client(tmp_path), options())
    assert sum(map(len, shares)) == 240  # type: ignore[arg-type]
    assert len(held) == 60  # type: ignore[arg-type]
    model = build_model(task(), {"hidden": 8}, options())
    assert model(shares[0][0][0]).shape == (2,)
    linear = build_model(task(), {"hidden": 0}, options())
    assert isinstance(linear, torch.nn.Linear)


def test_a_pools_clients_may_be_the_values_of_a_column_and_a_sites_table_is_its_own(tmp_path):
    many(tmp_path)
    by = [client_data(task(), client(tmp_path, n, 3), options(by="clinic")) for n in range(3)]
    assert [len(share) for share in by] == [80, 80, 80]  # type: ignore[arg-type]
    site = client_data(task(), client(tmp_path, 0, 3, site="north"), options(by="clinic"))
    assert len(site) == 240  # type: ignore[arg-type]


def test_a_model_takes_from_data_only_what_it_needs_and_params_leave_out():
    with pytest.raises(TaskError, match="needs 'columns'"):
        build_model(task(), {}, {"file": "t.csv"})
    assert build_model(task(), {"columns": COLUMNS, "target": "age"}, options()).get_submodule("2").out_features == 1


def test_a_jobs_columns_are_kept_with_it_and_bounded():
    fields = {"job": "j", "task": {"name": "table", "file": "table.py", "digest": "0" * 64}}
    spec = make_spec({**fields, "data": options()})
    assert read_spec(write_spec(spec)).data == options()
    with pytest.raises(SpecInvalid, match=r"data\.columns"):
        make_spec({**fields, "data": {"columns": {f"c{n}": "number" for n in range(2001)}}})


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_columns_that_the_job_does_not_name_are_looked_over_where_the_table_lies(kind, tmp_path, capsys):
    many(tmp_path)
    if kind == "parquet":
        pq.write_table(arrow_csv.read_csv(tmp_path / "t.csv"), tmp_path / "t.parquet")

    def resolved(*words: str) -> dict[str, Any]:
        common = ["run", "table", "--dry-run", "--json", "--data-dir", str(tmp_path), "--set", f"data.file=t.{kind}"]
        assert call([*common, *words]) == 0
        return dict(json.loads(capsys.readouterr().out))

    job = resolved("--set", "data.target=outcome", "--set", "data.by=clinic")
    assert job["clients"] == 3
    assert job["data"]["columns"]["sex"] == ["f", "m"]
    assert job["data"]["columns"]["outcome"] == ["ill", "well"]
    assert job["data"]["columns"]["age"]["mean"] == pytest.approx(49.5, abs=0.5)
    assert job["evaluate"]["metrics"] == ["accuracy", "f1", "auroc"]
    assert resolved("--set", "data.target=age")["evaluate"]["metrics"] == ["mae", "rmse", "r2"]


@pytest.mark.parametrize(
    ("words", "answer"),
    [([], "which table?"), (["--set", "data.file=gone.csv"], "no table gone.csv here to make the columns from")],
)
def test_a_table_that_is_not_named_or_not_there_is_asked_for(words, answer, capsys):
    assert call(["run", "table", *words]) == 2
    assert answer in capsys.readouterr().err


def test_a_parquet_file_makes_no_task_that_reads_csv(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_parquet(tmp_path / "t.parquet")
    assert call(["new", "mine", "--csv", "t.parquet"]) == 2
    assert "warren run table --set data.file=t.parquet" in capsys.readouterr().err
