"""Finished runs that scripts read or refuse."""

import builtins
import errno
import io
import os
import pathlib
import stat

import numpy as np
import pytest

from tests import configured
import tests.launch.benchmarks.conftest  # noqa: F401  modules beside scripts
from tests.launch.conftest import undone  # noqa: F401
from tests.runs import played
from twotsrec.data import interactions
from twotsrec.data import pipeline
from twotsrec.data import settings
from twotsrec.data import tables
from twotsrec.runs import run as run_lib

USERS, ITEMS = 12, 9
HEADER = 'user_id,item_id,rating,event'
GENRES = 'item_id,genre\n' + ''.join(f'i{n},g{n % 2}\n' for n in range(ITEMS))


def rows() -> str:
  """Users with names, ratings and events of two kinds."""
  generator = np.random.default_rng(0)
  lines = [
    f'u{user},i{item},{generator.integers(2, 6)},{"buy" if n else "view"}'
    for user in range(USERS)
    for n, item in enumerate(generator.permutation(ITEMS)[:6])
  ]
  return '\n'.join([HEADER, *lines, ''])


@pytest.fixture(scope='session')
def runs(tmp_path_factory) -> pathlib.Path:
  """Finished runs of EASE: a, b, and c with other groups; and bare, events."""
  folder = tmp_path_factory.mktemp('runs')
  (folder / 'log.csv').write_text(rows(), encoding='utf-8')
  (folder / 'items.csv').write_text(GENRES, encoding='utf-8')
  reading = settings.TableOptions(
    columns=tables.Columns(rating='rating'),
    forms=tables.Forms(where=('event=buy',)),
  )
  options = pipeline.Options(
    table=str(folder / 'log.csv'),
    reading=reading,
    filters=interactions.Filters(min_rating=2),
    features=settings.FeatureOptions(
      str(folder / 'items.csv'), ('genre:categorical',)
    ),
  )
  pipeline.prepare(options, str(folder / 'data'))
  plain = options._replace(
    reading=settings.TableOptions(),
    filters=interactions.Filters(),
    features=None,
  )
  pipeline.prepare(plain, str(folder / 'plain'))
  for name, data, more in (
    ('a', 'data', {}),
    ('b', 'data', {'closed_form.l2': 3.0}),
    ('c', 'data', {'groups.num_groups': 3}),
    ('bare', 'plain', {}),
  ):
    changes = {'model.name': 'ease', 'data.prepared': str(folder / data)}
    changes |= {'groups.num_groups': 2, 'evaluation.bootstrap': 20}
    changes |= {'evaluation.ks': (1, 3)}
    config = configured.by({**changes, **more})
    run_lib.train(config, str(folder / name), lambda: 0, quiet=True)
  return folder


@pytest.fixture(scope='session')
def streams(tmp_path_factory) -> pathlib.Path:
  """A finished run of 2TS, `events`."""
  folder = tmp_path_factory.mktemp('streams')
  played.saved_run(folder / 'events')
  return folder


@pytest.fixture(autouse=True)
def permissions(monkeypatch: pytest.MonkeyPatch) -> None:
  """Files that may not be read are not, though it be root who asks."""
  if os.geteuid():
    return
  opened = io.open

  def open_as_others(file, *rest, **named):
    named_file = isinstance(file, str | os.PathLike) and os.path.isfile(file)
    if named_file and not os.stat(file).st_mode & stat.S_IRUSR:
      raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(file))
    return opened(file, *rest, **named)

  for module in (builtins, io):
    monkeypatch.setattr(module, 'open', open_as_others)
