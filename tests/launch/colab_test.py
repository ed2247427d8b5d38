"""Notebooks run from their first cell to their last, which asserts."""

import json
import pathlib

import pytest

FOLDER = pathlib.Path(__file__).resolve().parents[2] / 'launch' / 'colab'
# Programs of this shape are compiled for other tests too.
SMALL = """
from tests import small_runs
config_lib.change(config, small_runs.SETTINGS)
"""
NOTEBOOKS = sorted(FOLDER.glob('*.ipynb'))


def _cells(path):
  cells = json.loads(path.read_text(encoding='utf-8'))['cells']
  return [''.join(c['source']) for c in cells if c['cell_type'] == 'code']


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_ends_in_an_assertion_and_runs(path):
  cells = _cells(path)
  assert 'assert ' in cells[-1]
  namespace = {}
  for cell in cells:
    # Smaller than on the page; everything else is run as it stands.
    tail = SMALL if 'config = config_lib.Config()' in cell else ''
    exec(compile(cell + tail, str(path), 'exec'), namespace)


def test_there_are_notebooks_without_stored_outputs():
  assert NOTEBOOKS
  for path in NOTEBOOKS:
    for cell in json.loads(path.read_text(encoding='utf-8'))['cells']:
      assert not cell.get('outputs')
