"""What online.py refuses, followed."""

import contextlib
import sqlite3

import pytest

from tests.advice.copies import followed
from tests.advice.following import Case
from tests.advice.following import dropped
from tests.advice.following import given
from tests.advice.following import together
from tests.advice.following import written
from tests.runs import played
from twotsrec.training import files
from twotsrec.training import run_directory

STATES = {'events.csv': 'user_id,item_id,timestamp\n102,1003,500\n99,1001,7\n'}
LATE = 'user_id,item_id,timestamp\n102,1003,500\n102,1001,7\n'
EVENTS = '--events=@/events.csv'
STORE = '--out_states=@/s.db'
ONLINE = [
  Case(says, ['--workdir=%runs/events', *asked], ways, files or STATES)
  for says, asked, ways, files in (
    (
      '--events is missing; name a table',
      [STORE],
      [given('events', '@/events.csv', says='--(events) is')],
      {},
    ),
    (
      '--out is for the users of --events',
      ['--out=@/t.csv', '--states=@/x.npz', STORE],
      [together(given('events', '@/events.csv'), dropped('states', 'name a'))],
      {},
    ),
    (
      '--out_states is missing: a file',
      [EVENTS],
      [given('out_states', '@/states.db', says='such as (states.db)')],
      {},
    ),
    (
      'goes back in time, from {} to {}; --late',
      [EVENTS, STORE],
      [given('late', says='--late=(drop)')],
      {'events.csv': LATE},
    ),
    (
      'goes back in time, from {} to {}; --late',
      [EVENTS, STORE],
      [given('late', says='--late=(replay)')],
      {'events.csv': LATE},
    ),
    (
      'goes back in time, from {} to {}; --late',
      [EVENTS, STORE],
      [
        written(
          'events.csv',
          'user_id,item_id,timestamp\n99,1001,7\n99,1003,500\n',
          'sort the table',
        )
      ],
      {'events.csv': LATE.replace('102', '99')},
    ),
    (
      'there is no such file; check the name, or begin',
      [EVENTS, '--states=@/s.db'],
      [together(given('out_states'), dropped('states', 'or begin with'))],
      {},
    ),
    (
      '{} holds no states, or is damaged',
      [EVENTS, '--states=@/events.csv', STORE],
      [dropped('states', 'leave --states out')],
      {},
    ),
    (
      '{}: nothing reads it/them {}',
      [EVENTS, STORE, '--k=3'],
      [given('out', '@/top.csv')],
      {},
    ),
    (
      '{}: nothing reads it/them {}',
      [EVENTS, STORE, '--k=3'],
      [dropped('k')],
      {},
    ),
  )
]


def with_states(name):
  """Plays events into a store or file of the folder."""

  def make(path, runs):
    table = played.table(path.with_suffix('.csv'), ['99,1001,7'])
    workdir = str(runs / 'events')
    played.play(workdir, path.parent, table, out_states=str(path), out='')

  return {name: make}


def of_ease(path, runs):
  """A run that has no states."""
  path.mkdir()
  config = run_directory.config_path(path)
  files.write_json(config, {'model': {'name': 'ease'}})


def of_another_version(path, runs):
  with_states(path.name)[path.name](path, runs)
  with contextlib.closing(sqlite3.connect(path)) as database:
    database.execute('PRAGMA user_version=99')


FAR = 'user_id,item_id,timestamp\n102,1003,1700000000\n'
OF_STORES = [
  Case(
    says,
    [*(['--workdir=%runs/events'] if len(asked) < 3 else []), EVENTS, *asked],
    [way],
    files,
  )
  for says, asked, way, files in (
    (
      'is a store, which is updated where it is',
      ['--states=@/a.db', STORE],
      dropped('out_states'),
      {**STATES, **with_states('a.db')},
    ),
    (
      'is a store, which is updated where it is',
      ['--states=@/a.db', STORE],
      given('out_states', '@/s.npz', says=r'name a (\.npz) file'),
      {**STATES, **with_states('a.db')},
    ),
    (
      'has states already; leave --states={} out',
      ['--states=@/a.npz', '--out_states=@/a.db'],
      dropped('states'),
      {**STATES, **with_states('a.npz'), **with_states('a.db')},
    ),
    (
      'has states already; leave --states={} out',
      ['--states=@/a.npz', '--out_states=@/a.db'],
      given('out_states', '@/other.db', says='another --(out_states)'),
      {**STATES, **with_states('a.npz'), **with_states('a.db')},
    ),
    (
      'which has no states that move; use one with',
      ['--workdir=@/other', STORE, '--late=drop'],
      given('workdir', '%runs/events', says='use (one) with model.name='),
      {
        **STATES,
        'other': of_ease,
      },
    ),
    (
      'the times of all users are far from those of',
      [STORE],
      written('events.csv', STATES['events.csv'], 'as the training table has'),
      {'events.csv': FAR},
    ),
    (
      'version {} of the format, and this program',
      ['--out_states=@/a.db'],
      given('out_states', '@/other.db', says='another file with --(out_st)'),
      {**STATES, 'a.db': of_another_version},
    ),
    (
      'state_store.py: cannot read {}: {}; name a file',
      ['--states=@/folder'],
      together(
        dropped('states', 'name a file that you can read'),
        given('out_states', '@/s.db', says='(name a file)'),
      ),
      {**STATES, 'folder/x': ''},
    ),
    (
      'none of its {} items is in the training data',
      [STORE],
      written('events.csv', STATES['events.csv'], 'of the training table'),
      {'events.csv': 'user_id,item_id,timestamp\n102,shoe,500\n'},
    ),
  )
]

CASES = [*ONLINE, *OF_STORES]


@pytest.mark.parametrize('case', CASES, ids=lambda case: case.name)
def test_states_are_moved_as_advised(case, streams, capsys, tmp_path):
  followed('online', case, streams, capsys, tmp_path)
