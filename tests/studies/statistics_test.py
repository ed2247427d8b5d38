"""Tables and figures of the data, which need no run."""

import importlib.util

import pytest

from tests import worlds
from tests.studies import directories
from tests.studies import finished
from tests.studies import written
from twotsrec.data import prepared as prepared_lib
from twotsrec.studies import document
from twotsrec.studies import plans
from twotsrec.studies import statistics

TABLES = {'table': ('1', 'fig6')}


@pytest.fixture
def plan(tmp_path):
  """Three behaviors in a directory, and a dataset that nobody has."""
  own = directories.make(tmp_path / 'mine', 3)
  datasets = ('beibei-copf-noview',)
  return finished.plan(
    'copf', tmp_path / 'out', prepared=(own,), datasets=datasets, **TABLES
  )


def _literal(path):
  """{(user, item): codes of its behaviors outside of the test}."""
  data, shown = prepared_lib.load(path), {}
  for user in range(data.num_users):
    for event in range(*data.user_offsets[user : user + 2]):
      if data.split[event] != prepared_lib.TEST:
        pair = user, int(data.items[event])
        shown.setdefault(pair, set()).add(int(data.behaviors[event]))
  return shown


def test_they_are_written_without_a_run(plan):
  assert not plans.runs(plan)
  path = document.write(plan)
  text = path.read_text('utf-8')
  shown = _literal(plan.request.prepared['mine'].path)
  sizes = [sum(k in codes for codes in shown.values()) for k in range(3)]
  first, sixth = text.split('\n## ')[1:]
  _, *rows = written.section(f'\n## {first}', 'Table 1', '##')
  assert rows == [
    ['beibei-copf-noview', 'ours, without views', *['-'] * 5],
    ['beibei-copf-noview', 'paper', '21,716', '7,977', '3.3e6', '282,860',
     'view, cart, buy'],
    ['mine', 'ours', str(directories.USERS), str(directories.ITEMS),
     str(sum(sizes)), str(sizes[-1]), 'step0, step1, step2'],
  ]  # fmt: skip
  _, *rows = written.section(f'\n## {sixth}', 'Fig. 6', '##')
  assert [row[1] for row in rows] == [f'{n:03b}' for n in range(1, 8)]
  for _, pattern, names, pairs, share in rows:
    codes = {code for code in range(3) if pattern[code] == '1'}
    assert names == ', '.join(f'step{code}' for code in sorted(codes))
    number = sum(of_pair == codes for of_pair in shown.values())
    assert (pairs, share) == (str(number), f'{number / len(shown):.1%}')
  strict = sum(of_pair == {0, 1, 2} for of_pair in shown.values()) / sizes[-1]
  assert f'; {strict:.1%} on mine.' in text
  assert 'the data of beibei-copf-noview were not read' in text
  # Nothing is said of trainings.
  assert 'epochs at most' not in text and 'runs took' not in text
  drawn = importlib.util.find_spec('matplotlib') is not None
  assert path.with_name('copf_fig6.png').exists() == drawn
  assert ('](copf_fig6.png)' in text) == drawn


def test_table_1_of_pin_counts_whole_logs(tmp_path):
  rows, data, _ = worlds.shown()
  prepared_lib.save(data, str(tmp_path / 'mine'))
  plan = finished.plan(
    'pin',
    tmp_path / 'out',
    prepared=(str(tmp_path / 'mine'),),
    datasets=('ml-1m',),
    table=('1',),
  )
  assert not plans.runs(plan)
  text = document.write(plan).read_text('utf-8')
  head, *lines = written.section(text, 'Table 1', '##')
  assert head[2:] == [
    'users', 'items', 'interactions', 'per user', 'per item', 'density'
  ]  # fmt: skip
  number = len(rows.user)  # all impressions, not clicks alone
  assert lines == [
    ['ml-1m', 'ours', *['-'] * 6],
    ['ml-1m', 'paper', '6,040', '3,706', '1,000,209', '165.57', '269.89',
     '4.468%'],
    ['mine', 'ours', '12', '20', str(number), f'{number / 12:.2f}',
     f'{number / 20:.2f}', f'{number / 240:.3%}'],
    ['Amazon Books', 'paper', '69,168', '81,473', '3,137,442', '45.36',
     '38.51', '0.056%'],
    ['Alipay', 'paper', '262,446', '4,545', '27,849,672', '106.12',
     '6,127.54', '2.334%'],
  ]  # fmt: skip
  assert 'all that users were shown; - is of data that were not read' in text


def test_many_behaviors_show_what_occurs():
  made = statistics.Patterns(tuple('abcdefg'), {'1000001': 2, '0000001': 1})
  assert statistics._listed(made) == {'0000001': 1, '1000001': 2}
  few = statistics.Patterns(('a', 'b'), {'11': 2})
  assert statistics._listed(few) == {'01': 0, '10': 0, '11': 2}
