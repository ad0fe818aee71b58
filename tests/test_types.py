"""The axis legend of `types` names every axis that the package's signatures and einsums use."""

import ast
import re
from pathlib import Path

import pytest

from r1reward_jax import types

PACKAGE = Path(types.__file__).parent
KINDS = {"Float", "Int", "Bool", "Shaped", "Num", "Inexact", "Integer", "UInt", "UInt8", "Real"}


def legend() -> dict[str, str]:
    """Symbol to meaning, from the indented block of the docstring."""
    assert types.__doc__
    lines = [line.strip() for line in types.__doc__.splitlines() if line.startswith("    ")]
    cells = [part for line in lines for part in re.split(r"\s{3,}", line)]
    pairs = [re.split(r"\s{2}", cell, maxsplit=1) for cell in cells]
    assert all(len(pair) == 2 for pair in pairs), pairs
    names = [name for name, _ in pairs]
    assert len(set(names)) == len(names), "a letter with two meanings"
    return dict(pairs)


def axes(shape: str) -> list[str]:
    """The named axes of an annotation's shape, without numbers, `...` and `_`."""
    names = [re.sub(r"^[*#?]+", "", part) for part in shape.split()]
    return [n for n in names if n not in ("...", "_", "") and not n.lstrip("-").isdigit()]


def used(tree: ast.AST):
    """(line, axis) of every jaxtyping annotation, einsum and local with a shape suffix."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and getattr(node.value, "id", None) in KINDS:
            parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else []
            for part in parts:
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    yield from ((node.lineno, axis) for axis in axes(part.value))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if re.fullmatch(r"[A-Z]+(,[A-Z]+)*->[A-Z]*", node.value):
                yield from ((node.lineno, a) for a in re.sub(r"[^A-Z]", "", node.value))
        elif isinstance(node, ast.Name) and (suffix := re.search(r"^[a-z]\w*_([A-Z]+)$", node.id)):
            yield from ((node.lineno, axis) for axis in suffix[1])


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_axes_are_in_the_legend(path):
    strange = [(line, a) for line, a in used(ast.parse(path.read_text())) if a not in legend()]
    assert not strange, f"{path}: not in the axis legend of types.py: {strange}"


def test_every_entry_of_the_legend_is_used():
    trees = [ast.parse(path.read_text()) for path in PACKAGE.rglob("*.py")]
    found = {axis for tree in trees for _, axis in used(tree)}
    assert set(legend()) - found == set()


def test_a_stranger_among_the_axes_is_noticed():
    code = 'def f(x: Float[Array, "B Y"], k_BYH): return jnp.einsum("BY,YV->BV", x, k_BYH)'
    assert [a for _, a in used(ast.parse(code)) if a not in legend()] == ["Y"] * 4
