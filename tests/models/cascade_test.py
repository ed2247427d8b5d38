import pytest

from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.models import cascade


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
