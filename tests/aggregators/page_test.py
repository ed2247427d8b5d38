"""configs/AGGREGATORS.md says what there is and what it costs."""

import pathlib
import re

import jax
import pytest

from tests.aggregators import cases
from twotsrec import aggregators
from twotsrec import config as config_lib

ROOT = pathlib.Path(__file__).parents[2]
PAGE = (ROOT / 'configs' / 'AGGREGATORS.md').read_text(encoding='utf-8')


def _rows(head):
  """Rows of the table below a head, as lists of cells."""
  *_, below = PAGE.partition(f'| {head} |')
  lines = below.partition('\n\n')[0].splitlines()[2:]
  return [[cell.strip() for cell in line.split(' | ')] for line in lines]


ROWS = {row[0].strip('| `'): row for row in _rows('name')}


def test_the_table_lists_all_of_them_in_their_order():
  assert tuple(ROWS) == aggregators.NAMES
  assert all(len(row) == 5 and all(row) for row in ROWS.values())


@pytest.mark.parametrize('name', aggregators.NAMES)
def test_costs_are_those_of_the_code(name):
  made = cases.make(name)
  _, _, passes, state, _ = ROWS[name]
  expected = '1' if made.weights is not None else 'G'
  assert passes == expected + '+' * (made.post is not None)
  # Twice the groups, then the parameters: what of the state grows?
  leaves = jax.tree.leaves(made.init(cases.GROUPS, cases.params()))
  shapes = {leaf.shape[1:] for leaf in leaves if leaf.ndim}
  kinds = {'GP': any(shape == (2, 2) for shape in shapes)}
  kinds['G^2'] = (cases.GROUPS,) in shapes
  kinds['G'] = () in shapes
  assert state == next((kind for kind in kinds if kinds[kind]), '-')


def test_names_of_other_libraries_lead_to_ours():
  settings = {field.name for field in _fields()}
  rows = _rows('there')
  assert len(rows) > 30
  for _, here in rows:
    named = re.findall(r'`([^`=]+)[^`]*`', here)
    ours = named[0].removeprefix('aggregator.')
    assert ours in aggregators.NAMES or ours in settings
  led_to = ' '.join(here for _, here in rows)
  ours_alone = {'class_balanced', 'agr_sum', 'agr_rand', 'group_dro'}
  missing = [name for name in ROWS if f'`{name}`' not in led_to]
  assert set(missing) == ours_alone


def _fields():
  return vars(config_lib.AggregatorConfig)['__dataclass_fields__'].values()


def test_the_readme_counts_them():
  text = (ROOT / 'README.md').read_text(encoding='utf-8')
  assert f'[{len(aggregators.NAMES)} aggregators](configs' in text
