"""What is in the wheel, who imports whom, how long things may get: the rules of the house, read from its files."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOT_PACKAGED = {"tests", "docs", "benchmarks", "deploy", "examples", "build", "dist", "runs"}
ROOMS = {
    "links": set[str](),
    "broker": {"links"},
    "storage": {"links"},
    "trainer": {"broker", "storage"},
    "aggregator": {"broker", "storage"},
    "cli": {"broker", "storage", "trainer", "aggregator"},
}
FILE_LINES_MAX = 300
FUNCTION_LINES_MAX = 70
BUILD_SECONDS = 240
# What starts often or does I/O all day: torch costs 300 MB and seconds in each process.
WITHOUT_TORCH = (
    "links/*.py",
    "broker/*.py",
    "storage/[!t]*.py",
    "storage/tensors.py",
    "aggregator/round.py",
    "cli/main.py",
    "trainer/worker.py",
)


def packages() -> list[str]:
    """Every package of the repository, by its folders."""
    found = ["warren"]
    for marker in sorted(ROOT.rglob("__init__.py")):
        parts = marker.parent.relative_to(ROOT).parts
        if parts and parts[0] not in NOT_PACKAGED and not any(part.startswith(".") for part in parts):
            found.append(".".join(("warren", *parts)))
    return found


def modules() -> list[Path]:
    return [file for name in packages() for file in sorted(folder_of(name).glob("*.py"))]


def folder_of(package: str) -> Path:
    return ROOT.joinpath(*package.split(".")[1:])


def python_files() -> Iterator[Path]:
    yield from modules()
    for name in ("tests", "benchmarks"):
        yield from sorted((ROOT / name).rglob("*.py"))


def imported_rooms(file: Path) -> Iterator[tuple[int, str]]:
    """(line, room) of each import of ours in a file, also inside functions and for type checking only."""
    inside = ("warren", *file.relative_to(ROOT).parent.parts)
    for node in ast.walk(ast.parse(file.read_text())):
        for name in _imported(node, inside):
            parts = name.split(".")
            if parts[0] == "warren" and len(parts) > 1 and parts[1] in ROOMS:
                yield node.lineno, parts[1]  # type: ignore[attr-defined]


def _imported(node: ast.AST, inside: tuple[str, ...]) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    start = ".".join(inside[: len(inside) + 1 - node.level]) if node.level else ""
    module = ".".join(part for part in (start, node.module or "") if part)
    return [f"{module}.{alias.name}" for alias in node.names]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy: what an earlier build left in `build/` would slip into it."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE", "py.typed"):
        shutil.copy(ROOT / name, source / name)
    for package in packages():
        copy = source.joinpath(*package.split(".")[1:])
        copy.mkdir(parents=True, exist_ok=True)
        for file in folder_of(package).iterdir():
            if file.is_file():
                shutil.copy(file, copy / file.name)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(out), "."]
    built = subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False)
    assert built.returncode == 0, built.stderr[-2000:]
    (file,) = out.glob("warren-*.whl")
    return file


def test_every_package_is_listed_in_pyproject() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    assert sorted(listed) == sorted(packages())


def test_the_wheel_holds_every_module_and_the_typing_marker(wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    wanted = {"warren/" + file.relative_to(ROOT).as_posix() for file in modules()} | {"warren/py.typed"}
    assert wanted - held == set()


def test_the_wheel_puts_no_generic_name_beside_warren(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {top for top in tops if not top.startswith("warren")} == set()


def test_the_wheel_holds_the_licence_and_the_command(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        texts = {name.split("/")[-1]: name for name in archive.namelist() if ".dist-info/" in name}
        assert "LICENSE" in texts
        assert "warren = warren.cli.main:main" in archive.read(texts["entry_points.txt"]).decode()


def test_every_package_imports_from_the_wheel(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = "import importlib, sys\n" + f"sys.path.insert(0, {str(tmp_path)!r})\n"
    code += f"for name in {packages()!r}: print(importlib.import_module(name).__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert all(line.startswith(str(tmp_path)) for line in done.stdout.splitlines())


def test_rooms_import_only_what_the_design_allows() -> None:
    wrong = [
        f"{file.relative_to(ROOT)}:{line} imports {room}"
        for file in modules()
        if (own := file.relative_to(ROOT).parts[0]) in ROOMS
        for line, room in imported_rooms(file)
        if room != own and room not in ROOMS[own]
    ]
    assert wrong == []


def test_rooms_import_each_other_relatively() -> None:
    wrong = [
        f"{file.relative_to(ROOT)}:{node.lineno}"
        for file in modules()
        for node in ast.walk(ast.parse(file.read_text()))
        if "tasks" not in file.parts  # loaded by their path, as a user's are: they have no package to be relative to
        and (
            (isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").split(".")[0] == "warren")
            or (isinstance(node, ast.Import) and any(alias.name.split(".")[0] == "warren" for alias in node.names))
        )
    ]
    assert wrong == []


def test_no_file_is_over_300_lines() -> None:
    long = {
        str(file.relative_to(ROOT)): lines
        for file in python_files()
        if (lines := len(file.read_text().splitlines())) > FILE_LINES_MAX
    }
    assert long == {}


def test_no_function_is_over_70_lines() -> None:
    long = {
        f"{file.relative_to(ROOT)}:{node.lineno} {node.name}": lines
        for file in python_files()
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES_MAX
    }
    assert long == {}


def test_every_file_says_its_job_in_its_first_line() -> None:
    silent = [str(file.relative_to(ROOT)) for file in modules() if not ast.get_docstring(ast.parse(file.read_text()))]
    assert silent == []


def _without_torch() -> list[str]:
    files = sorted(file for pattern in WITHOUT_TORCH for file in ROOT.glob(pattern))
    names = [".".join(("warren", *file.relative_to(ROOT).with_suffix("").parts)) for file in files]
    return [name.removesuffix(".__init__") for name in names]


def test_the_processes_that_do_io_do_not_import_torch() -> None:
    code = f"import importlib, sys\nfor name in {_without_torch()!r}:\n    importlib.import_module(name)\n"
    code += "    if 'torch' in sys.modules: sys.exit(f'{name} imports torch')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
