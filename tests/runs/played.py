"""Tables of events, played through the states of a run."""

import csv

import pytest

from tests.serving import online_toys
from twotsrec import types
from twotsrec.runs import online as online_recipe

_CHANGES = {
  'two_time__variant': '2ts_plus',
  'plugin__name': 'light',
  'plugin__points': 'Z',
}


def world():
  """2TS-Plus with plugins in one of its networks."""
  return online_toys.world(**_CHANGES)


def saved_run(folder):
  """A finished run of `world`."""
  return online_toys.save_run(world(), folder)


def table(path, rows, header='user_id,item_id,timestamp'):
  path.write_text('\n'.join([header, *rows, '']), encoding='utf-8')
  return str(path)


def read(path):
  with open(path, newline='', encoding='utf-8') as file:
    return list(csv.DictReader(file))


def play(workdir, folder, table, **options):
  """Runs it; the line, states and rows."""
  options = online_recipe.Options(
    **{
      'events': table,
      'states': '',
      'out_states': str(folder / 'states.npz'),
      'out': str(folder / 'top.csv'),
      'k': 3,
      **options,
    }
  )
  said = online_recipe.run(workdir, options, quiet=True)
  return said, options.out_states, options.out and read(options.out)


def refused(workdir, folder, table, **options):
  with pytest.raises(types.UserError) as error:
    play(workdir, folder, table, **options)
  assert len(str(error.value).splitlines()) == 1
  return str(error.value)
