"""The pages that say where things are name modules, classes, functions and settings that exist."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from configs import joint
from empatheia_jax.runs.fit import flat
from tests.conftest import ROOT

PAGES = sorted(path.relative_to(ROOT).as_posix() for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
ROOMS = ("empatheia_jax", "converters", "evaluation", "data_pipeline", "configs", "benchmarks")
FULL = {
    "docs/architecture.md": 30,
    "docs/paper.md": 80,
    "docs/dialogue.md": 4,
    "docs/evaluation.md": 4,
}  # at least so many names
PATH = re.compile(r"`([\w./]+\.py)(?:::\w+|:[\w-]+)?`")
NAME = re.compile(r"`([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+)(?:\(.*?\))?`")
FILE_ENDINGS = ("py", "md", "json", "jsonl", "npz", "wav", "mp4", "txt", "csv", "tex", "html", "toml", "safetensors")


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def members(node: ast.AST) -> dict[str, ast.AST]:
    """What a module or class defines, by name; attributes that methods set count."""
    found: dict[str, ast.AST] = {}
    for each in getattr(node, "body", []):
        if isinstance(each, ast.FunctionDef | ast.ClassDef):
            found[each.name] = each
        elif isinstance(each, ast.Assign | ast.AnnAssign):
            targets = each.targets if isinstance(each, ast.Assign) else [each.target]
            found |= {target.id: each for target in targets if isinstance(target, ast.Name)}
        elif isinstance(each, ast.ImportFrom):
            found |= {name.asname or name.name: each for name in each.names}
    if isinstance(node, ast.ClassDef):
        for each in ast.walk(node):
            if isinstance(each, ast.Attribute) and isinstance(each.value, ast.Name) and each.value.id == "self":
                found.setdefault(each.attr, each)
    return found


def has(node: ast.AST, parts: list[str]) -> bool:
    for part in parts:
        if isinstance(node, ast.ImportFrom):  # handed on from elsewhere
            return True
        if part not in (inside := members(node)):
            return False
        node = inside[part]
    return True


@functools.cache
def classes() -> dict[str, list[ast.ClassDef]]:
    found: dict[str, list[ast.ClassDef]] = {}
    for room in ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            for each in tree(path).body:
                if isinstance(each, ast.ClassDef):
                    found.setdefault(each.name, []).append(each)
    return found


def exists(name: str) -> bool:
    """Whether a dotted name is a module or what one defines, from the top or from a room; a class's member; or a setting."""
    name = re.sub(r"^STAGE\.", "joint.", name)  # a setting that every stage has
    parts = name.split(".")
    if parts[0][0].isupper():
        return any(has(each, parts[1:]) for each in classes().get(parts[0], []))
    for start in (ROOT, *(ROOT / room for room in ROOMS)):
        for count in range(len(parts), 0, -1):
            place = start.joinpath(*parts[:count])
            if place.with_suffix(".py").is_file() and has(tree(place.with_suffix(".py")), parts[count:]):
                return True
            if (place / "__init__.py").is_file() and has(tree(place / "__init__.py"), parts[count:]):
                return True
    return name in flat(joint.get_config().to_dict())


def names(page: str) -> Iterator[str]:
    for name in NAME.findall((ROOT / page).read_text(encoding="utf-8")):
        ours = name.split(".")[0] in (*ROOMS, *(each.stem for room in ROOMS for each in (ROOT / room).iterdir()))
        if (ours or name[0].isupper()) and name.rsplit(".", 1)[1] not in FILE_ENDINGS:
            yield name


@pytest.mark.parametrize("page", PAGES)
def test_every_name_of_a_page_exists(page):
    found = list(names(page))
    assert len(found) >= FULL.get(page, 0)
    assert not [name for name in dict.fromkeys(found) if not exists(name)]


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_a_page_names_by_its_folder_exists(page):
    tops = [
        ROOT,
        ROOT / "empatheia_jax",
        ROOT / "data_pipeline",
        ROOT / "converters",
        ROOT / "evaluation",
        ROOT / "tests",
    ]
    named = {path for path in PATH.findall((ROOT / page).read_text(encoding="utf-8")) if "/" in path}
    ours = {path for path in named if any((top / path.split("/")[0]).is_dir() for top in tops)}
    assert not [path for path in sorted(ours) if not any((top / path).is_file() for top in tops)]


@pytest.mark.parametrize("name", ["dialogue.engine.Engine.sing", "dialogue.motor", "Empatheia.sing", "bridge.fused"])
def test_a_name_that_does_not_exist_is_found(name):
    assert not exists(name)


def test_every_test_that_the_page_of_faults_names_exists():
    page = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
    named, path = [], ""
    for each in re.findall(r"`((?:[\w/]+\.py::)?test_\w+)`", page):
        path, _, name = each.rpartition("::") if "::" in each else (path, "", each)
        named.append(f"{path}::{name}")
    missing = [each for each in named if (parts := each.split("::"))[1] not in members(tree(ROOT / "tests" / parts[0]))]
    assert len(named) > 50 and not missing
