"""The limits that the tree keeps: sizes, docstrings, catches, folders, and who loads what."""

import ast
import io
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from parts import ROOT, need

import worker

PACKAGES = ("dicom_io", "model", "worker")
MAX_FILE_LINES, MAX_FUNCTION_LINES, MAX_PARAMETERS = 400, 60, 6
MAX_BROAD_CATCHES, MAX_SUPPRESSIONS = 1.0, 3.0
"""Per 1000 code lines of the three packages together."""
TOP_LEVEL = {
    ".ci",
    ".github",
    "benchmarks",
    "deploy",
    "dicom_io",
    "docs",
    "model",
    "tests",
    "worker",
}
SKIPPED_TOKENS = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
Function = ast.FunctionDef | ast.AsyncFunctionDef


def code_lines(source: str) -> set[int]:
    """Numbers of the lines that hold code: no blanks, no comments, no docstrings."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in SKIPPED_TOKENS:
            lines.update(range(token.start[0], token.end[0] + 1))
    # A text that stands alone: a docstring, or the one below a field.
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            lines.difference_update(range(node.lineno, (node.end_lineno or 0) + 1))
    return lines


def functions(tree: ast.Module) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def parameters(function: Function) -> int:
    """Parameters without self and cls; a star counts as one."""
    arguments = function.args
    named = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    stars = [star for star in (arguments.vararg, arguments.kwarg) if star is not None]
    return len([name for name in named if name not in ("self", "cls")]) + len(stars)


def is_broad(handler: ast.ExceptHandler) -> bool:
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(
        kind is None or (isinstance(kind, ast.Name) and kind.id in ("Exception", "BaseException"))
        for kind in caught
    )


def broad_catches(source: str) -> list[int]:
    return [n.lineno for n in ast.walk(ast.parse(source)) if isinstance(n, ast.ExceptHandler) and is_broad(n)]


def suppressions(source: str) -> list[int]:
    comments = (
        t for t in tokenize.generate_tokens(io.StringIO(source).readline) if t.type == tokenize.COMMENT
    )
    return [t.start[0] for t in comments if "noqa" in t.string or "type: ignore" in t.string]


def undocumented(tree: ast.Module) -> list[str]:
    """Public classes and functions without a docstring, also the methods of public classes."""
    missing = []
    scopes: list[tuple[str, ast.Module | ast.ClassDef]] = [("", tree)]
    while scopes:
        prefix, scope = scopes.pop()
        for node in scope.body:
            if not isinstance(node, ast.ClassDef | Function) or node.name.startswith("_"):
                continue
            if ast.get_docstring(node) is None:
                missing.append(f"{prefix}{node.name}")
            if isinstance(node, ast.ClassDef):
                scopes.append((f"{prefix}{node.name}.", node))
    return missing


def read(path: Path) -> str:
    return path.read_text("utf-8")


def where(path: Path) -> str:
    return str(path.relative_to(ROOT))


def total_code_lines() -> int:
    return sum(len(code_lines(read(path))) for path in SOURCES)


# The measure itself

SAMPLE = '''"""Module."""

import os  # noqa: F401


class Thing:
    """Class."""

    size: int = 1
    """Field."""

    def method(self, a, /, b, *rest, c=1, **more):
        # a comment
        text = """two
        lines"""
        try:
            return text
        except (ValueError, Exception):
            return a

    def _hidden(self):
        return None
'''


def test_the_measures_count_what_they_say() -> None:
    tree = ast.parse(SAMPLE)
    assert sorted(code_lines(SAMPLE)) == [3, 6, 9, 12, 14, 15, 16, 17, 18, 19, 21, 22]
    assert [parameters(f) for f in functions(tree)] == [5, 0]
    assert broad_catches(SAMPLE) == [18]
    assert suppressions(SAMPLE) == [3]
    assert undocumented(tree) == ["Thing.method"]


# Sizes


def test_no_file_is_longer_than_its_limit() -> None:
    sizes = {where(path): len(code_lines(read(path))) for path in SOURCES}
    assert sizes, "no source was found"
    too_long = {name: size for name, size in sizes.items() if size > MAX_FILE_LINES}
    assert not too_long, f"files of more than {MAX_FILE_LINES} code lines: {too_long}"


def test_no_function_is_longer_than_its_limit() -> None:
    too_long = {}
    for path in SOURCES:
        lines = code_lines(read(path))
        for function in functions(ast.parse(read(path))):
            size = len([n for n in lines if function.lineno <= n <= (function.end_lineno or 0)])
            if size > MAX_FUNCTION_LINES:
                too_long[f"{where(path)}:{function.lineno} {function.name}"] = size
    assert not too_long, f"functions of more than {MAX_FUNCTION_LINES} code lines: {too_long}"


def test_no_function_has_more_parameters_than_its_limit() -> None:
    too_many = {
        f"{where(path)}:{function.lineno} {function.name}": parameters(function)
        for path in SOURCES
        for function in functions(ast.parse(read(path)))
        if parameters(function) > MAX_PARAMETERS
    }
    assert not too_many, f"functions of more than {MAX_PARAMETERS} parameters: {too_many}"


def test_broad_catches_are_rare() -> None:
    found = [f"{where(path)}:{line}" for path in SOURCES for line in broad_catches(read(path))]
    per_1000 = 1000 * len(found) / total_code_lines()
    assert per_1000 <= MAX_BROAD_CATCHES, f"{per_1000:.2f} broad catches per 1000 code lines: {found}"


def test_suppressions_are_rare() -> None:
    found = [f"{where(path)}:{line}" for path in SOURCES for line in suppressions(read(path))]
    per_1000 = 1000 * len(found) / total_code_lines()
    assert per_1000 <= MAX_SUPPRESSIONS, f"{per_1000:.2f} suppressions per 1000 code lines: {found}"


# Docstrings


def test_every_module_says_what_it_is() -> None:
    missing = [where(path) for path in SOURCES if not ast.get_docstring(ast.parse(read(path)))]
    assert not missing, f"modules without a docstring: {missing}"


@pytest.mark.parametrize("package", ["dicom_io", "model"])
def test_everything_public_is_documented(package: str) -> None:
    missing = [
        f"{where(path)}: {name}"
        for path in SOURCES
        if path.is_relative_to(ROOT / package)
        for name in undocumented(ast.parse(read(path)))
    ]
    assert not missing, f"public and without a docstring: {missing}"


# The tree


def test_the_top_level_holds_the_known_folders_alone() -> None:
    listed = subprocess.run(
        [need("git", "git"), "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode != 0:
        pytest.skip("this is no git checkout, so there is no list of its files")
    folders = {name.split("/")[0] for name in listed.stdout.splitlines() if "/" in name}
    assert folders <= TOP_LEVEL, f"unknown folders at the top: {sorted(folders - TOP_LEVEL)}"
    assert set(PACKAGES) <= folders


def test_no_module_is_a_drawer_for_everything() -> None:
    drawers = ("utils", "util", "helpers", "helper", "common", "misc")
    found = [where(p) for p in SOURCES if p.stem in drawers or p.parent.name in drawers]
    assert not found, f"name them by what they do: {found}"


# What is loaded


def loaded_by(code: str, tmp_path: Path) -> set[str]:
    """Names of the modules that a fresh interpreter holds after running that."""
    show = "import sys; print('\\n'.join(sys.modules))"
    ran = subprocess.run(
        [sys.executable, "-c", f"{code}; {show}"],
        env={"PATH": "/usr/bin:/bin", "CXR_DATA": str(tmp_path), "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(ran.stdout.split())


HEAVY = {"torch", "monai", "numpy", "pydicom", "pynetdicom", "sqlalchemy", "celery", "redis", "highdicom"}


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_alone_loads_nothing_heavy(package: str, tmp_path: Path) -> None:
    loaded = loaded_by(f"import {package}", tmp_path)
    assert package in loaded
    assert not loaded & HEAVY


def test_the_parent_of_the_workers_holds_no_tensor_library(tmp_path: Path) -> None:
    """A forward pass in a forked child hangs when its parent has made one."""
    loaded = loaded_by("import worker.celery, worker.tasks", tmp_path)
    assert {"celery", "worker.pipeline", "worker.delivery"} <= loaded
    assert not loaded & {"torch", "monai", "openvino", "model.predict", "model.network"}


def test_the_listener_holds_no_tensor_library(tmp_path: Path) -> None:
    loaded = loaded_by("import worker.cli.listen", tmp_path)
    assert {"worker.receiver", "pynetdicom"} <= loaded
    assert not loaded & {"torch", "monai", "openvino"}


def test_the_version_is_told_once_and_the_same() -> None:
    project = tomllib.loads(read(ROOT / "pyproject.toml"))["project"]
    assert project["version"] == worker.__version__
