"""The mutations of `tests/mutations.py` fit the sources; that tests notice them is a slow test."""

from pathlib import Path

import pytest

from tests import mutations
from tests.mutations import MUTATIONS, ROOT


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.name)
def test_mutations_fit_the_sources(mutation):
    assert mutations.applied(mutation, ROOT)
    file, _, test = mutation.test.partition("::")
    name = test.partition("[")[0]
    assert f"def {name}(" in (Path(ROOT) / "tests" / file).read_text()


@pytest.mark.slow
def test_every_mutation_is_noticed():
    assert mutations.main() == 0
