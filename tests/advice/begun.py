"""Small runs that begin or are refused, by their settings."""

import functools

import numpy as np

from tests import asked as phases
from tests import finished
from tests import two_time_toys
from tests.advice.setting import config
from tests.advice.setting import refusal
from tests.advice.setting import to
from tests.advice.setting import verified
from twotsrec.data import interactions
from twotsrec.data import pipeline
from twotsrec.data import prepared as prepared_lib
from twotsrec.data import splits
from twotsrec.data import tables
from twotsrec.runs import experiment as experiment_lib

SMALL = ['data.users=25', 'groups.num_groups=3', 'model.width=4']
SMALL += ['model.hidden=(4,)']
BEHAVIORS = ["data.dataset='synthetic-behaviors'", *SMALL[1:]]
BEHAVIORS += ['data.users=40']
GRAPHS = [one for one in BEHAVIORS if 'hidden' not in one]
GRAPHS += ["model.name='multi_behavior'", "train.select_metric='none'"]
STREAMS = ["model.name='two_time_scale'", 'model.width=4']
STREAMS += ['groups.num_groups=3', 'two_time.stage1_epochs=(1,)']
STREAMS += ['data.prepared=%events']
TO_THE_END = to(
  'train.select_metric', 'none', 'last epoch with train.select_metric=none'
)


def made(
  users: int, items, num_items: int, validation: bool = True
) -> prepared_lib.Prepared:
  """Users who touch items in the same order, each from another one on."""
  user = np.repeat(np.arange(users, dtype=np.int32), len(items))
  item = np.add.outer(np.arange(users), np.asarray(items)).reshape(-1)
  return prepared_lib.build(
    user,
    (1 + item % num_items).astype(np.int32),
    splits.leave_last_out(user, validation),
    user_ids=np.arange(users),
    item_ids=np.arange(num_items),
  )


def unequal() -> prepared_lib.Prepared:
  """Users of whom those who do most have touched everything."""
  events = [6] * 4 + [12] * 4
  user = np.repeat(np.arange(8, dtype=np.int32), events)
  item = np.concatenate([1 + np.arange(n) for n in events]).astype(np.int32)
  return prepared_lib.build(
    user,
    item,
    splits.leave_last_out(user),
    user_ids=np.arange(8),
    item_ids=np.arange(12),
  )


def few() -> prepared_lib.Prepared:
  """Users of whom two have enough for a validation."""
  user = np.repeat(np.arange(20, dtype=np.int32), [2] * 18 + [5, 5])
  return prepared_lib.build(
    user,
    (1 + np.arange(len(user)) % 9).astype(np.int32),
    splits.leave_last_out(user),
    user_ids=np.arange(20),
    item_ids=np.arange(9),
  )


def rated(dislikes: str) -> prepared_lib.Prepared:
  """A log with behaviors and ratings, some of which are low."""
  path = two_time_toys.folder() / 'rated.csv'
  rows = [
    f'{n // 9},{n % 9 + n // 9},{"view" if n % 3 else "buy"},{n % 7}'
    for n in range(54)
  ]
  path.write_text('\n'.join(['user_id,item_id,event,rating', *rows, '']))
  columns = tables.Columns(behavior='event', rating='rating')
  options = pipeline.Options(
    table=str(path),
    reading=pipeline.TableOptions(columns=columns),
    filters=interactions.Filters(min_rating=1, dislikes=dislikes),
    behaviors=('view', 'buy'),
  )
  return pipeline.prepare(options)


@functools.cache
def logs() -> dict[str, str]:
  """Directories of prepared data by name."""
  folder = two_time_toys.folder() / 'advice'
  data = {
    'again': made(6, [1, 2, 3, 1, 2, 1, 2], 9),
    'lonely': made(6, [1, 1, 1, 1, 1], 1),
    'whole': made(6, [1, 2, 3, 4, 5], 5),
    'short': made(6, [1, 2, 3], 9),
    'alike': made(9, range(8), 20),
    'unvalidated': made(9, [1, 2, 3, 4, 1], 20, validation=False),
    'few': few(),
    'unequal': unequal(),
    'rated': rated('negatives'),
    'rated_seen': rated('seen'),
  }
  for name, log in data.items():
    prepared_lib.save(log, str(folder / name))
  paths = {name: str(folder / name) for name in data}
  return {**paths, 'events': str(two_time_toys.prepared_path())}


def on(name: str) -> str:
  return f'data.prepared=%{name}'


def of_log(name: str, *settings: str) -> list[str]:
  """A small model on one of the logs."""
  few = [one for one in SMALL[1:] if 'groups' not in one]
  return [*few, 'groups.num_groups=2', on(name), *settings]


def attempt(asked: list[str]) -> str:
  """What settings are refused with; %NAME is one of the logs, or a run."""
  paths = logs()
  named = {f'%{name}': path for name, path in paths.items()}
  if any('%trunk' in one for one in asked):
    named['%trunk'] = str(finished.run())
  placed = []
  for one in asked:
    path, _, value = one.partition('=')
    value = value.strip("'")
    placed.append(f'{path}={named[value]!r}' if value in named else one)
  said = verified(placed)
  if not said and '%trunk' in named:
    said = refusal(started, placed)
  return said


def started(asked: list[str]) -> None:
  """Loads what the first phase starts from."""
  made = config(asked)
  experiment = experiment_lib.make(made, experiment_lib.load_data(made))
  first = phases.first(experiment, experiment_lib.load)
  first.start()
