"""`warren new`, and what it makes of tables: which columns are what, and tables that are none."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

from warren.cli.errors import UsageMistake
from warren.cli.main import call
from warren.cli.table_file import describe
from warren.storage.job import JobSpec


def table(folder: Path, header: str, *rows: str, repeat: int = 10) -> Path:
    path = folder / "table.csv"
    path.write_text("\n".join([header, *(rows * repeat)]) + "\n", encoding="utf-8")
    return path


def test_columns_are_numbers_words_or_left_out(tmp_path: Path) -> None:
    rows = [f"{number},{'yes' if number % 2 else 'no'},same,id{number},{number % 3}" for number in range(60)]
    found = describe(table(tmp_path, "age,smoker,unit,id,grade", *rows, repeat=1), None, None)
    assert found.numbers == {"age": (29.5, pytest.approx(17.318, abs=0.001))}
    assert found.words == {"smoker": ["no", "yes"]}
    assert (found.target, found.classes) == ("grade", ["0", "1", "2"])
    assert found.notes == [
        "unit is left out: the same in every row",
        "id is left out: 60 different words, more than 50",
    ]


def test_a_target_of_numbers_is_predicted_as_a_number(tmp_path: Path) -> None:
    rows = [f"{number},{number / 7:.3f}" for number in range(40)]
    found = describe(table(tmp_path, "x,y", *rows, repeat=1), "y", None)
    assert found.classes == []
    assert found.target_scale[0] == pytest.approx(39 / 14, abs=0.001)


@pytest.mark.parametrize(("sign", "name"), [(",", "comma"), (";", "semicolon"), ("\t", "tab"), ("|", "bar")])
def test_columns_may_be_divided_by_other_signs(tmp_path: Path, sign: str, name: str) -> None:
    path = table(tmp_path, sign.join("ab"), sign.join("1x"), sign.join("2y"), repeat=15)
    found = describe(path, None, None)
    assert (found.delimiter, found.numbers.keys(), found.classes) == (sign, {"a"}, ["x", "y"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a,b\n" + "1,2\n1,3\n" * 4, "8 rows below the header are too few"),
        ("a,b\n1,2\n1,2,3\n" + "1,2\n" * 20, "line 3: 3 cells, and the header has 2"),
        ("a,a\n" + "1,2\n" * 20, "the header has 'a' twice"),
        ("a,\n" + "1,2\n" * 20, "a column has no name"),
        ("1,2\n" * 30, "has no header"),
        ("a\n" + "1\n" * 30, "1 columns: at least 2"),
        ("a,b\n" + "1,x\n" * 30, "the column holds 1 different values"),
        ("", "0 columns"),
    ],
)
def test_a_table_that_can_not_be_learnt_from_is_refused_with_the_reason(
    tmp_path: Path, text: str, expected: str
) -> None:
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(UsageMistake, match=expected):
        describe(path, None, None)


def test_what_is_no_text_and_no_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(b"a,b\n\xff\xfe\x00,1\n")
    with pytest.raises(UsageMistake, match="not UTF-8"):
        describe(path, None, None)
    with pytest.raises(UsageMistake, match="can't read"):
        describe(tmp_path / "none.csv", None, None)


def test_names_with_quotes_make_source_that_reads_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    header = 'the """ one,back\\slash,"it\'s @NAME@ ü"'
    table(tmp_path, header.replace('"""', "'''"), "1,a,yes", "2,b,no", repeat=20)
    assert call(["new", "odd", "--csv", "table.csv"]) == 0
    tree = ast.parse((tmp_path / "odd.py").read_text())
    assigned = {node.targets[0].id: node.value for node in tree.body if isinstance(node, ast.Assign)}
    assert ast.literal_eval(assigned["TARGET"]) == "it's @NAME@ ü"
    assert list(ast.literal_eval(assigned["WORDS"])) == ["back\\slash"]
    capsys.readouterr()
    assert call(["check", "odd.toml", "--json"]) == 0


def test_what_new_writes_is_a_job_with_known_keys_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(["new", "mine-2"]) == 0
    fields = tomllib.loads((tmp_path / "mine-2.toml").read_text())
    assert fields["task"] == "mine_2.py"
    assert set(fields) - {"deadline", "task"} <= set(JobSpec.model_fields)
    assert call(["submit", "mine-2.toml", "--dry-run"]) == 0


@pytest.mark.parametrize("name", ["", "2x", "a/b", "../a", "class", "a" * 51])
def test_a_name_that_is_none_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(["new", name]) == 2
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_there_are_written_over_only_by_force(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("precious")
    assert call(["new", "mine"]) == 1
    assert (tmp_path / "mine.py").read_text() == "precious"
    assert not (tmp_path / "mine.toml").exists()
    assert call(["new", "mine", "--force"]) == 0
