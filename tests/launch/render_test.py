import json
import pathlib
import re

import pytest

from tests.launch import scripts

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def render(capsys, undone):
  """The module, its flags as they are by default."""
  scripts.run(capsys, 'reproduce/render', '--check')  # reads its flags
  module = scripts.load('reproduce/render')
  yield module
  for flag in ('check',):
    delattr(module.flags.FLAGS, flag)


def test_every_table_is_drawn_from_its_numbers(render):
  """A digit changed by hand, or numbers changed without it, fails here."""
  for path in render.pages():
    text = path.read_text(encoding='utf-8')
    assert render.rendered(text) == text, path.relative_to(ROOT)


def test_no_table_of_results_is_typed(render):
  """Every table on a page of results stands in a frame."""
  for path in render.pages()[1:]:
    text = render._MARKED.sub('', path.read_text(encoding='utf-8'))
    assert not re.search(r'^\s*\|', text, re.MULTILINE), path.name


def test_a_changed_digit_is_put_right(render):
  path = ROOT / 'launch/reproduce/results/pin.md'
  text = path.read_text(encoding='utf-8')
  row = next(line for line in text.splitlines() if line.startswith('| PCGrad'))
  changed = text.replace(row, row.replace('.9305', '.9306'))
  assert changed != text and render.rendered(changed) == text
  assert text.count('<!-- /table -->') == 3


def test_numbers_have_the_rows_and_columns_they_name():
  for folder in ('launch/reproduce/results', 'launch/benchmarks/results'):
    for path in (ROOT / folder).glob('*.json'):
      numbers = json.loads(path.read_text(encoding='utf-8'))
      for table in numbers.get('tables', {}).values():
        widths = {len(row) for row in table['rows']}
        assert widths == {len(table['columns'])}, path.name


@pytest.mark.parametrize(
  ('cell', 'column', 'text'),
  [
    (None, {}, ''),
    ('as 2TS', {'digits': 4}, 'as 2TS'),
    (1269, {}, '1,269'),
    (0.95, {'digits': 4}, '.9500'),
    (-0.05, {'digits': 4, 'signed': True}, '-.0500'),
    (0.05, {'digits': 4, 'signed': True}, '+.0500'),
    (10.25, {'digits': 2}, '10.25'),
    (0.15, {'digits': 2, 'unit': ' %'}, '.15 %'),
    ([0.5, 0.25], {'digits': 2}, '.50 / .25'),
    (
      {'value': 0.5, 'interval': [0.4, 0.6]},
      {'digits': 4, 'interval_digits': 3},
      '.5000 [.400, .600]',
    ),
    ({'value': 0.5, 'low': 0.4, 'high': 0.6}, {'digits': 1}, '.5 (.4 to .6)'),
    ({'low': 0.4, 'high': 0.6}, {'digits': 1}, '.4 to .6'),
    ({'value': 5, 'note': 'busy'}, {}, '5 (busy)'),
  ],
)
def test_a_cell_is_printed_as_papers_do(render, cell, column, text):
  assert render.cell_text(cell, column) == text


@pytest.mark.parametrize(
  ('frame', 'message'),
  [
    ('moon/systems', 'no moon.json in launch/reproduce/results'),
    ('pin/moon', "pin.json has no 'moon'; it has base_models"),
  ],
)
def test_a_table_that_is_not_there_is_one_line(render, frame, message):
  text = f'<!-- table: {frame} -->\n<!-- /table -->\n'
  with pytest.raises(render.types.UserError, match=message):
    render.rendered(text)


def test_an_old_page_is_named_and_written(
  capsys, undone, tmp_path, monkeypatch
):
  page = tmp_path / 'README.md'
  page.write_text('<!-- table: sasrec/original -->\n<!-- /table -->\n')
  (tmp_path / 'launch').symlink_to(ROOT / 'launch')
  load = scripts.load

  def elsewhere(name):
    module = load(name)
    module.ROOT = tmp_path
    return module

  monkeypatch.setattr(scripts, 'load', elsewhere)
  ended = scripts.run(capsys, 'reproduce/render', '--check')
  assert ended.code == 2 and ended.err.startswith('error: README.md is not')
  ended = scripts.run(capsys, 'reproduce/render')
  assert ended == (0, 'written: README.md\n', '')
  assert '| its paper | .8245 |' in page.read_text()
  assert scripts.run(capsys, 'reproduce/render', '--check').code == 0
