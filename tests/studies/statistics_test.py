"""Tables and figures of the data, which need no run."""

import importlib.util

import pytest

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


def test_many_behaviors_show_what_occurs():
  made = statistics.Patterns(tuple('abcdefg'), {'1000001': 2, '0000001': 1})
  assert statistics._listed(made) == {'0000001': 1, '1000001': 2}
  few = statistics.Patterns(('a', 'b'), {'11': 2})
  assert statistics._listed(few) == {'01': 0, '10': 0, '11': 2}
