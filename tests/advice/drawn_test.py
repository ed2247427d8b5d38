"""What built-in logs refuse, and limits of size, and what they advise."""

import pathlib
from unittest import mock

import numpy as np
import pytest

from tests.advice import following
from tests.advice.following import Call
from tests.advice.logs import PLAIN
from twotsrec.data import splits
from twotsrec.data import synthetic
from twotsrec.data import synthetic_behaviors
from twotsrec.data import synthetic_impressions
from twotsrec.data import synthetic_stream
from twotsrec.data import tables
from twotsrec.data import text_files
from twotsrec.ops import graph
from twotsrec.ops import pairs

SMALL = {'num_users': 5, 'num_items': 60, 'num_groups': 1}
# Built-in logs.


def streamed(folder: pathlib.Path, name: str):
  """A stream of few events per user, split by name."""
  world = synthetic_stream.World(num_events=40, num_items=30, max_activity=1)
  return synthetic_stream.write(
    world, str(folder / name), splits.Rule(name, validation=True)
  )


def world_of(**changes):
  synthetic_stream.check(synthetic_stream.World(**changes))


# Limits that no test can reach.


def lines_of(folder: pathlib.Path, text: str):
  (folder / 'log.csv').write_text(text)
  with mock.patch.object(text_files, '_MAX_LINE_BYTES', 64):
    return tables.read_table(folder / 'log.csv', tables.Columns())


def graph_of(most: int, count: int):
  """A graph, where indices have no more than so many values."""
  info = np.iinfo(np.int32)
  limited = mock.Mock(max=most, min=info.min)
  user, item = np.divmod(np.arange(count), 4)
  with mock.patch.object(graph.np, 'iinfo', lambda kind: limited):
    return graph._symmetric(user, item, np.ones(count), 9, 4)


def dealt(batch_size: int, samples: int):
  """Batches of users, with places for less than most batches need."""
  count = np.random.default_rng(0).geometric(0.1, 200)
  drawn = np.minimum(count, samples)
  with mock.patch.object(pairs, '_DEVIATIONS', -2.0):
    places = np.array([pairs.places_for(drawn, batch_size)])
  return pairs.deal_users(drawn[None], places, batch_size, (0,))


CALLS = [
  Call(
    'prepared_stream.py: nothing is left for {}: {}',
    lambda folder: streamed(folder, 'leave_last_out'),
    'choose another split',
    lambda folder: streamed(folder, 'global_time'),
  ),
  *(
    Call(
      'synthetic.py: the built-in log needs',
      lambda folder, wrong=wrong: synthetic.generate(**{**SMALL, **wrong}),
      advice,
      lambda folder, number, wrong=wrong: synthetic.generate(
        **{**SMALL, **dict.fromkeys(wrong, int(number))}
      ),
    )
    for wrong, advice in (
      ({'num_users': 0}, 'at least (1) user'),
      ({'num_items': 3}, r'at least (\d+) items'),
      ({'num_groups': 9}, r'1 to (\d+) groups'),
    )
  ),
  *(
    Call(
      'synthetic_behaviors.py: the built-in log needs',
      lambda folder, wrong=wrong: synthetic_behaviors.generate(
        **{**SMALL, **wrong}
      ),
      advice,
      lambda folder, number, wrong=wrong: synthetic_behaviors.generate(
        **{**SMALL, **dict.fromkeys(wrong, int(number))}
      ),
    )
    for wrong, advice in (
      ({'num_users': 0}, 'at least (1) user'),
      ({'num_items': 3}, r'at least (\d+) items'),
      ({'num_groups': 0}, 'at least (1) group'),
    )
  ),
  Call(
    'noise is {}; allowed are shares from 0 to 1',
    lambda folder: synthetic.generate(**SMALL, tail_noise=2.0),
    r'from 0 to (1)',
    lambda folder, most: synthetic.generate(**SMALL, tail_noise=float(most)),
  ),
  Call(
    'users, one for each group, not',
    lambda folder: synthetic_impressions.generate(4),
    r'--users=(\d+) or more',
    lambda folder, most: synthetic_impressions.generate(int(most)),
  ),
  Call(
    '{} of the built-in log is {}; allowed are',
    lambda folder: world_of(arrival=2.0),
    r'^(\w+) of .* allowed are 0 to (1)',
    lambda folder, name, most: world_of(**{name: float(most)}),
  ),
  Call(
    'longer than {} bytes; write one row per line',
    lambda folder: lines_of(folder, PLAIN.replace('\n', ',')),
    'write one row per line',
    lambda folder: lines_of(folder, PLAIN),
  ),
  Call(
    'can be indexed, filter the interactions',
    lambda folder: graph_of(9, 30),
    'filter the interactions',
    lambda folder: graph_of(9, 4),
  ),
  *(
    Call(
      'too uneven numbers of pairs for one compiled',
      lambda folder: dealt(20, 40),
      advice,
      lambda folder, more=more: dealt(*more),
    )
    for advice, more in (
      ('raise train.batch_size', (200, 40)),
      ('or lower behavior.samples', (20, 1)),
    )
  ),
]


@pytest.mark.parametrize('call', CALLS, ids=lambda call: call.name)
def test_calls_go_on_as_advised(call, tmp_path):
  following.obey(call, tmp_path)
