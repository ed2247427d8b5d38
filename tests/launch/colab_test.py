"""Notebooks run from their first cell to their last, which asserts."""

import importlib.util
import json
import pathlib
import re
import subprocess

import pytest

FOLDER = pathlib.Path(__file__).resolve().parents[2] / 'launch' / 'colab'
NOTEBOOKS = sorted(FOLDER.glob('*.ipynb'))
every = pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.stem)


def _cells(path, kind='code'):
  cells = json.loads(path.read_text(encoding='utf-8'))['cells']
  return [''.join(c['source']) for c in cells if c['cell_type'] == kind]


def _check_figure(figure):
  """Axes say what they show, and nothing is cut off or too small to read."""
  figure.canvas.draw()
  width, height = figure.get_size_inches() * figure.dpi
  for axis in figure.axes:
    named = axis.get_title(), axis.get_xlabel(), axis.get_ylabel()
    named = (axis.get_title(loc='left') or named[0], *named[1:])
    assert all(named), named
  for text in figure.findobj(lambda one: hasattr(one, 'get_fontsize')):
    if text.get_text() and text.get_visible():
      assert text.get_fontsize() >= 7, text.get_text()
  box = figure.get_tightbbox().transformed(figure.dpi_scale_trans)
  assert box.x0 >= -2 and box.y0 >= -2
  assert box.x1 <= width + 2 and box.y1 <= height + 2


@every
def test_it_runs_draws_and_ends_in_assertions(path, capsys, monkeypatch):
  pytest.importorskip(
    'matplotlib', reason='matplotlib (plots) is not installed'
  )
  import matplotlib
  from matplotlib import pyplot

  matplotlib.use('Agg')
  cells = _cells(path)
  assert 'assert' in cells[-1]
  # What would be installed is here.
  monkeypatch.delattr(subprocess, 'run')
  namespace, drawn = {}, 0
  for number, cell in enumerate(cells):
    exec(compile(cell, f'{path.name}, cell {number}', 'exec'), namespace)
    for name in pyplot.get_fignums():
      _check_figure(pyplot.figure(name))
      drawn += 1
    pyplot.close('all')
  assert drawn >= 2
  assert capsys.readouterr().out


@every
def test_it_is_stored_without_outputs_and_with_names_of_its_cells(path):
  book = json.loads(path.read_text(encoding='utf-8'))
  assert (book['nbformat'], book['nbformat_minor']) == (4, 5)
  names = [cell['id'] for cell in book['cells']]
  assert len({*names}) == len(names)
  assert all(re.fullmatch('[a-z][a-z0-9-]{1,63}', name) for name in names)
  for cell in book['cells']:
    assert not cell.get('outputs') and cell.get('execution_count') is None
  # As editors of notebooks write it, so that a change is a small one.
  written = json.dumps(book, indent=1, ensure_ascii=False) + '\n'
  assert path.read_text(encoding='utf-8') == written


def test_there_are_five_and_the_first_cell_installs_in_all_alike():
  assert len(NOTEBOOKS) == 5
  firsts = {re.sub(r'\[[a-z,]+\]', '[]', _cells(path)[0]) for path in NOTEBOOKS}
  assert len(firsts) == 1


def _installed(monkeypatch, folder, **changes):
  """What the first cell asks for in a folder, where nothing is installed."""
  asked = []
  monkeypatch.chdir(folder)
  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
  monkeypatch.setattr(
    subprocess, 'run', lambda command, check: asked.append(command)
  )
  cell = _cells(FOLDER / 'pin.ipynb')[0]
  for name, value in changes.items():
    cell = cell.replace(f"{name} = ''", f'{name} = {value!r}')
  exec(compile(cell, 'install', 'exec'), {})
  ((_, *pip, wanted),) = asked
  assert pip == ['-m', 'pip', 'install', '--quiet']
  return wanted


def test_it_installs_the_checkout_around_it(monkeypatch):
  root = FOLDER.parents[1]
  assert _installed(monkeypatch, FOLDER) == f'{root}[plots]'
  assert _installed(monkeypatch, root) == f'{root}[plots]'


def test_it_installs_what_it_is_told(monkeypatch, tmp_path):
  address = 'https://example.org/twotsrec'
  assert _installed(monkeypatch, tmp_path, SOURCE='/drive/mine') == (
    '/drive/mine[plots]'
  )
  assert _installed(monkeypatch, tmp_path, SOURCE=address) == (
    f'twotsrec[plots] @ git+{address}'
  )


def test_it_says_what_is_missing(monkeypatch, tmp_path):
  with pytest.raises(SystemExit, match='SOURCE'):
    _installed(monkeypatch, tmp_path)
