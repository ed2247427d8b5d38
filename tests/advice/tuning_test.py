"""What advice, sweeps and tracking refuse, and those who do as they say."""

import pathlib
import re
import sys
from unittest import mock

import numpy as np
import pytest

from tests import small_runs
from tests.advice import following
from tests.advice.copies import followed
from tests.advice.following import Call
from tests.advice.following import Case
from tests.advice.tools_test import installed_with
from tests.launch.conftest import undone  # noqa: F401
from twotsrec import types
from twotsrec.data import prepared as prepared_lib
from twotsrec.data import splits
from twotsrec.runs import run as run_lib
from twotsrec.runs import search_space
from twotsrec.runs import sweep
from twotsrec.runs import systems
from twotsrec.runs import tables
from twotsrec.runs import which_model
from twotsrec.training import tracking

# ml_collections reads config files with a function that Python deprecates.
pytestmark = pytest.mark.filterwarnings(
  'ignore:the load_module:DeprecationWarning'
)


def advised(folder, split='') -> None:
  """Advice on a log with a split, or without held-out events."""
  user = np.repeat(np.arange(9, dtype=np.int32), 5)
  data = prepared_lib.build(
    user,
    (1 + np.arange(45) % 13).astype(np.int32),
    getattr(splits, split)(user, True) if split else np.zeros(45, np.int8),
    user_ids=np.arange(9),
    item_ids=np.arange(13),
  )
  prepared_lib.save(data, str(folder / f'data{split}'))
  which_model.of(str(folder / f'data{split}'), 2, quiet=True)


def tried(folder, rate='0.1,0.2', **changes) -> None:
  """A sweep of made-up trainings, which fail where the rate is negative."""

  def train(config, workdir, should_stop, quiet):
    if config.train.seed == 7:
      raise types.UserError('the loss is not finite')
    cell = {'ndcg@10': {'value': 0.5}}
    return {'validation': {'overall': cell, 'groups': [cell]}}

  config = small_runs.config(**changes)
  space = search_space.parse(config, {'train.learning_rate': rate})
  with mock.patch.object(run_lib, 'train', train):
    sweep.train(sweep.Task(config, space, trials=2), str(folder / 'sweep'))


def without(name, call, folder) -> None:
  """Calls it where a package is absent."""
  with mock.patch.dict(sys.modules, {name: None}):
    call(folder)


def tracked(folder, kind) -> None:
  with tracking.beside(kind, str(folder), lambda: 0):
    pass


def of_range(text) -> None:
  search_space.parse(small_runs.config(), {'model.width': text})


CALLS = [
  Call(
    'holds out no test events, so there is nothing',
    advised,
    r'launch/prepare\.py --split=(leave_last_out)',
    advised,
  ),
  Call(
    'is no whole number from 0; write',
    lambda folder: systems.parse_seeds(['one']),
    r'write ([\d,]+)',
    lambda folder, text: systems.parse_seeds(text.split(',')),
  ),
  Call(
    'tables.py: --out={} must end in',
    lambda folder: tables.check_out('x.txt'),
    r'must end in .*(\.csv)',
    lambda folder, suffix: tables.check_out(f'x{suffix}'),
  ),
  Call(
    '--vary={} must be a setting and its values',
    lambda folder: search_space.of_flags(['train.learning_rate']),
    'such as (.*)$',
    lambda folder, text: search_space.parse(
      small_runs.config(), search_space.of_flags([text])
    ),
  ),
  Call(
    'nothing to vary; give --vary',
    lambda folder: search_space.parse(small_runs.config(), {}),
    r'give --vary=([^ ,]+),',
    lambda folder, text: search_space.parse(
      small_runs.config(), search_space.of_flags([text])
    ),
  ),
  Call(
    'the smaller first, such as 1..4, and positive',
    lambda folder: of_range('8..4'),
    r'such as (\d\.\.\d),',
    lambda folder, text: of_range(text),
  ),
  Call(
    '{} is not installed; run: pip install -e',
    lambda folder: without('optuna', tried, folder),
    r"pip install -e '\.\[(\w+)\]'",
    lambda folder, extra: installed_with(extra, 'optuna'),
  ),
  Call(
    'trials are judged on validation items, and the',
    lambda folder: tried(folder, data__validation=False),
    r'prepare them with data\.validation=(True)',
    lambda folder, value: tried(folder, data__validation=value == 'True'),
  ),
  Call(
    'all of {} trials failed, the last one with',
    lambda folder: tried(folder, train__seed=7),
    'Use other values of --vary or --config, in another --workdir',
    lambda folder: tried(folder / 'another', train__seed=6),
  ),
  Call(
    'what --track={} needs is not installed; run',
    lambda folder: without(
      'tensorboardX', lambda f: tracked(f, 'tensorboard'), folder
    ),
    r"pip install -e '\.\[(\w+)\]'",
    lambda folder, extra: installed_with(extra, 'tensorboardX'),
  ),
]


@pytest.mark.parametrize('call', CALLS, ids=lambda call: call.name)
def test_calls_go_on_as_advised(call, tmp_path):
  (tmp_path / 'another').mkdir()
  following.obey(call, tmp_path)


SPACE = """from twotsrec import config


def get_config():
  made = config.Config()
  made.model.name, made.groups.num_groups = 'ease', 2
  made.data.prepared = '{data}'
  made.evaluation.bootstrap, made.evaluation.ks = 20, (1, 3)
  return made


def get_space():
  return {space}
"""


def with_space(space):
  """A configuration with a space, on the data of the runs."""

  def make(path, runs):
    data = pathlib.Path(runs) / 'data'
    text = SPACE.replace('{data}', str(data)).replace('{space}', space)
    path.write_text(text, encoding='utf-8')

  return make


def as_written(text, asked, folder):
  """Gives what the message has between braces."""
  (space,) = re.findall(r'such as (\{.*\})', text)
  assert eval(space) == {'model.width': '16,32'}  # noqa: S307  of our own
  mine = folder / 'mine.py'
  made = mine.read_text(encoding='utf-8')
  # EASE has no width.
  other = "{'closed_form.l2': '1,2'}"
  mine.write_text(made.replace("['closed_form.l2']", other), encoding='utf-8')
  return asked


SWEEP = [
  Case(
    '--config: get_space() gives a {}; it must give',
    ['--config=@/mine.py', '--workdir=@/sweep', '--trials=1', '--quiet'],
    [as_written],
    {'mine.py': with_space("['closed_form.l2']")},
  )
]


@pytest.mark.usefixtures('undone')
@pytest.mark.parametrize('case', SWEEP, ids=lambda case: case.name)
def test_sweeps_go_on_as_advised(case, runs, capsys, tmp_path):
  followed('sweep', case, runs, capsys, tmp_path)
