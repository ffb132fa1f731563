"""Imports point one way; the contracts are in pyproject.toml."""

from importlinter.cli import lint_imports
from importlinter.configuration import configure

from tests.conftest import ROOT


def test_the_rooms_keep_to_themselves(capsys: object) -> None:
    configure()
    assert lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True) == 0
