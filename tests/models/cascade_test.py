import numpy as np
import pytest

from tests import behavior_toys as toys
from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.models import cascade
from twotsrec.models import fusion as fusion_lib


def test_layers_tables_and_carries_come_in_order():
  """Words stand in for tables: the loop does no algebra of its own."""
  tables = cascade.run(
    'e',
    depths=(2, 0, 1),
    layer=lambda k, at, x: f'{x}.{k}{at}',
    combine=lambda layers: '+'.join(layers),
    carry=lambda k, layers, table: f'({k}:{layers[-1]})',
  )
  assert tables == (
    'e+e.00+e.00.01',
    '(0:e.00.01)',
    '(1:(0:e.00.01))+(1:(0:e.00.01)).20',
  )


@pytest.mark.parametrize(
  ('given', 'expected'),
  [((), (1, 1, 1)), ((2,), (2, 2, 2)), ((0, 4, 1), (0, 4, 1))],
)
def test_layers_are_one_each_alike_or_each_its_own(given, expected):
  options = config_lib.FusionConfig(num_layers=given)
  assert cascade.depths(options, 3) == expected


def test_another_number_of_layers_than_of_behaviors_is_refused():
  options = config_lib.FusionConfig(num_layers=(1, 1))
  with pytest.raises(types.UserError, match='one for all, or none'):
    cascade.depths(options, 3)


@pytest.mark.parametrize('name', ['mb_cgcn', 'crgcn', 'cigf', 'pkef', 'rgcn'])
@pytest.mark.parametrize('empty', [0, 1])
def test_an_upstream_behavior_without_edges_leaves_tables_finite(name, empty):
  dense = [mask & (k != empty) for k, mask in enumerate(toys.masks())]
  depths = (2,) if name in ('cigf', 'rgcn') else (2, 1, 2)
  tables, _ = toys.encode(
    fusion_lib.make,
    dense=dense,
    fusion__name=name,
    fusion__num_layers=depths,
  )
  assert all(np.all(np.isfinite(table)) for table in tables)
  assert all(np.any(table) for table in tables)
