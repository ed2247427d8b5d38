"""What a run is refused with because of what is stored, followed."""

import shutil

import numpy as np
import pytest

from tests import small_runs
from tests.advice import following
from tests.advice.begun import attempt
from tests.advice.begun import made
from tests.advice.begun import of_log
from tests.advice.following import Case
from tests.advice.following import done
from tests.advice.setting import to
from twotsrec.data import prepared as prepared_lib


def damaged(damage):
  """Makes prepared data and damages them."""

  def make(path):
    prepared_lib.save(made(6, [1, 2, 3, 1, 2], 9), str(path))
    damage(path)

  return make


def renewed(folder):
  """Deletes the data and prepares them again, as is said."""
  shutil.rmtree(folder / 'data')
  prepared_lib.save(made(6, [1, 2, 3, 1, 2], 9), str(folder / 'data'))


def changed(path, old, new):
  path.write_bytes(path.read_bytes().replace(old, new, 1))


DAMAGED = [
  Case(
    says,
    [*of_log('again')[:-1], "data.prepared='data'"],
    [done(renewed, 'prepare')],
    {'data': damaged(damage)},
  )
  for says, damage in (
    ('({} it is missing {})', lambda data: (data / 'items.npy').unlink()),
    (
      'its size is wrong or it is not an array',
      lambda data: (data / 'items.npy').write_bytes(b'x'),
    ),
    (
      '({} it is not a manifest {})',
      lambda data: (data / 'manifest.json').write_text('{}'),
    ),
    (
      'directories.py: ({} its content has changed {})',
      lambda data: np.save(
        data / 'items.npy', np.load(data / 'items.npy')[::-1]
      ),
    ),
    ('it should be', lambda data: np.save(data / 'items.npy', np.arange(3))),
    (
      'prepared.py: ({} its content has changed {})',
      lambda data: changed(
        data / 'manifest.json', b'"history_rule": "', b'"history_rule": "x'
      ),
    ),
    (
      '{} has format version {}, this program reads',
      lambda data: changed(
        data / 'manifest.json', b'"version": ', b'"version": 9'
      ),
    ),
  )
]

# Stage 2 on a finished stage 1.
STAGE_2 = [f'{path}={value!r}' for path, value in small_runs.SETTINGS.items()]
STAGE_2 += ["plugin.name='light'", "plugin.trunk='%trunk'"]
TRUNKS = [
  Case(
    says,
    [*(one for one in STAGE_2 if not one.startswith(f'{path}=')), wrong],
    [way],
  )
  for says, path, wrong, way in (
    (
      'pin.py: {} was trained with {} {}, this run has',
      'model.width',
      'model.width=8',
      to('model.width', ..., r'trained with model\.width (\d+)'),
    ),
    (
      'pin.py: {} was trained on other data than',
      'data.users',
      'data.users=26',
      to('data.users', 25, 'use the same'),
    ),
    (
      'which leaves a vector of width {} no hidden unit',
      'plugin.ratio',
      'plugin.ratio=0.01',
      to('plugin.ratio', ..., r'at least ([\d.]+)'),
    ),
    (
      'own.py: is unknown; known: {}, or one of your own',
      'plugin.name',
      "plugin.name='heavy'",
      to('plugin.name', 'light', 'known: .*light'),
    ),
  )
]

CASES = [*DAMAGED, *TRUNKS]


@pytest.mark.parametrize('case', CASES, ids=lambda case: case.name)
def test_a_run_begins_as_advised(case, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  following.follow(case, attempt, tmp_path)
