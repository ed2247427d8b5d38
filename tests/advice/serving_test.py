"""What the scripts refuse that serve a finished run, followed."""

import shutil

import numpy as np
import pytest

from tests import finished
from tests.advice.copies import FINISH
from tests.advice.copies import finished_again
from tests.advice.copies import followed
from tests.advice.copies import made_like
from tests.advice.copies import shown_again
from tests.advice.copies import told
from tests.advice.copies import without_report
from tests.advice.following import Case
from tests.advice.following import done
from tests.advice.following import dropped
from tests.advice.following import given
from tests.advice.following import together
from tests.advice.following import written
from twotsrec.data import pipeline
from twotsrec.runs import run as run_lib
from twotsrec.training import files
from twotsrec.training import run_directory

A = '--workdir=%runs/a'
OUT = '--out=@/top.csv'
USER = {'users.txt': 'u1\nnobody\n'}
NEW = {'new.csv': 'user_id,item_id\nnew,i1\nnew,i2\n'}
HISTORY = '--history=@/new.csv'
ITEM = {'items.txt': 'i1\ni2\n'}


def recommend(says, *asked, ways, **files) -> Case:
  flags = [A, OUT, *asked]
  for flag in asked:  # in place of what is usual
    name = flag.partition('=')[0]
    flags = [f for f in flags if f.partition('=')[0] != name] + [flag]
  return Case(says, flags, ways, files)


RECOMMEND = [
  recommend(
    'is not in the training data; recommend to new',
    '--users=@/users.txt',
    ways=[given('unknown_users', says=r'--unknown_users=(skip) or popular')],
    **USER,
  ),
  recommend(
    'is not in the training data; recommend to new',
    '--users=@/users.txt',
    ways=[given('unknown_users', says=r'--unknown_users=skip or (popular)')],
    **USER,
  ),
  recommend(
    'is not in the training data; recommend to new',
    '--users=@/users.txt',
    ways=[
      together(
        given('history', '@/new.csv'),
        dropped('users', 'recommend to new users'),
      )
    ],
    **USER,
    **NEW,
  ),
  recommend(
    'give --users, --history or --similar_to',
    '--users=@/users.txt',
    HISTORY,
    ways=[dropped('users', 'not two of them')],
    **USER,
    **NEW,
  ),
  recommend(
    'catalogs.py: {}: cannot read {}: {}',
    '--items=@/itms.txt',
    ways=[given('items', '@/items.txt', says='check the (name)')],
    **ITEM,
  ),
  recommend(
    '{}: {} names no {}; one id per line',
    '--items=@/items.txt',
    ways=[written('items.txt', 'i1\n', 'one id per line')],
    **{'items.txt': '\n'},
  ),
  recommend(
    '--items: none of the {} ids in {} is in',
    '--items=@/items.txt',
    ways=[written('items.txt', 'i1\n', "ids are like 'i0'")],
    **{'items.txt': '1\n2\n'},
  ),
  recommend(
    'no item is left to recommend by',
    '--items=@/items.txt',
    '--exclude_items=@/items.txt',
    ways=[dropped('exclude_items', 'leave one of them out')],
    **ITEM,
  ),
  recommend(
    '--items_where={}: features are {}; write',
    '--items_where=kind=g1',
    ways=[given('items_where', 'genre=g1', says='features are (genre)')],
  ),
  recommend(
    '--items_where={}: no item has {} in {}',
    '--items_where=genre=g7',
    ways=[given('items_where', 'genre=g1', says='values are g0, (g1)')],
  ),
  recommend(
    '--items_where: the run has no item features',
    '--workdir=%runs/bare',
    '--items_where=genre=g1',
    ways=[
      together(
        dropped('items_where', 'or name the items'),
        given('items', '@/items.txt'),
      )
    ],
    **ITEM,
  ),
  recommend(
    'is neither a file nor an item of the',
    '--similar_to=7',
    ways=[given('similar_to', says=r"ids are like '(\w+)'")],
  ),
  recommend(
    'none of its {} items is in the training data',
    HISTORY,
    ways=[
      written('new.csv', NEW['new.csv'], 'must be those of the training table')
    ],
    **{'new.csv': 'user_id,item_id\nnew,1\n'},
  ),
  recommend(
    'new_events.py: nothing reads it, since {}',
    HISTORY,
    '--behavior_column=event',
    ways=[dropped('behavior_column')],
    **{'new.csv': 'user_id,item_id,event\nnew,i1,buy\n'},
  ),
  recommend(
    'no row is left, {} of {} were dropped',
    HISTORY,
    ways=[given('where', 'event=view', says='change --(where)')],
    **{'new.csv': 'user_id,item_id,event\nnew,i1,view\n'},
  ),
  recommend(
    'the name must end in',
    '--out=@/top.txt',
    ways=[given('out', '@/top.csv', says='must end in (.csv)')],
  ),
  recommend(
    '{} is a folder; name a file in it, such as',
    '--out=@/top.csv',
    ways=[given('out', says=r'such as (\S+)')],
    **{'top.csv/x': ''},
  ),
  recommend(
    'is no folder that can be written; choose one',
    '--out=@/new.csv/top.csv',
    ways=[given('out', '@/top.csv', says='(choose one) with write')],
    **NEW,
  ),
  recommend(
    'is not a run directory: it has no config.json',
    '--workdir=%runs/d',
    ways=[given('workdir', '%runs/a')],
  ),
  recommend(
    '{}: nothing reads it/them {}',
    '--time_column=t',
    ways=[dropped('time_column')],
  ),
  recommend(
    '{}: nothing reads it/them {}',
    '--time_column=t',
    ways=[given('history', '@/new.csv')],
    **{'new.csv': 'user_id,item_id,t\nnew,i1,7\n'},
  ),
  recommend(
    '--{} is missing; see --help',
    '--workdir=',
    ways=[given('workdir', '%runs/a')],
  ),
  recommend(
    'unexpected argument {}; see --help',
    'top.csv',
    ways=[
      lambda text, asked, folder: [one for one in asked if one != 'top.csv']
    ],
  ),
]
RECOMMEND.append(
  recommend(
    'knows the users of its training data only; leave',
    '--workdir=@/run',
    HISTORY,
    ways=[dropped('history', 'leave it out')],
    run=lambda path, runs: shutil.copytree(finished.run('copf'), path),
    **NEW,
  )
)


def unvalidated(path, runs):
  """A run without validation events."""
  options = pipeline.Options(
    table=str(runs / 'log.csv'),
    split=pipeline.SplitOptions('leave_last_out', validation=False),
  )
  data = str(path.with_name('unvalidated'))
  pipeline.prepare(options, data)
  config = run_directory.typed_config(str(runs / 'bare'))
  config.data.prepared = data
  run_lib.train(config, str(path), lambda: 0, quiet=True)


RULES = ['--at_most=1', '--categories=@/kinds.csv']
RECOMMEND += [
  recommend(
    'at_most and categories go with each other',
    '--at_most=1',
    ways=[dropped('at_most', 'leave both out')],
  ),
  recommend(
    'is neither a feature with one value for every',
    '--at_most=1',
    '--categories=kind',
    ways=[given('categories', says=r'\((genre)\)')],
  ),
  recommend(
    'is neither a feature with one value for every',
    '--workdir=%runs/bare',
    *RULES,
    ways=[written('kinds.csv', 'i1,tea\n', 'a table of two')],
  ),
  recommend(
    '--categories: line {} of {} has {} cells',
    *RULES,
    ways=[written('kinds.csv', 'i1,tea\n', 'two, an item and its category')],
    **{'kinds.csv': 'i1,tea,hot\n'},
  ),
  recommend(
    '--categories: no item in {} is in the training',
    *RULES,
    ways=[written('kinds.csv', 'i1,tea\n', "ids are like 'i0'")],
    **{'kinds.csv': '1,tea\n2,cup\n'},
  ),
]

EVALUATE = [
  Case(
    '{} has no {} events to evaluate; choose another',
    ['--workdir=@/run', '--split=validation'],
    [given('split', 'test', says='choose another --(split)')],
    {'run': unvalidated},
  )
]
EVALUATE += [
  Case(says, asked, [way])
  for says, asked, way in (
    (
      'tables.py: {} names for {} run directories',
      ['--workdir=%runs/a,%runs/b', '--names=A'],
      given('names', 'A,B', says='(one for each)'),
    ),
    (
      'names in one table must differ',
      ['--workdir=%runs/a,%runs/b', '--names=A,A'],
      given('names', 'A,B'),
    ),
    (
      'such numbers cannot stand in one table',
      ['--workdir=%runs/a,%runs/c'],
      given('workdir', '%runs/a,%runs/b', says='(choose others)'),
    ),
    (
      'report.py: unknown metric {}; known',
      ['--workdir=%runs/a', '--metrics=hr@7'],
      given('metrics', says=r'known: .*(hr@3)'),
    ),
    (
      'would change nothing: no model here has plugins',
      ['--workdir=%runs/a', '--routing=soft'],
      dropped('routing'),
    ),
  )
]

RUN = '--workdir=@/run'
DELETED = done(shown_again, 'delete it and repeat')
COPIES = [
  Case(says, [RUN, *asked], [way], {'run': made_like('a', change)})
  for says, asked, way, change in (
    (
      'experiment.py: training has not finished (no',
      [OUT],
      FINISH,
      without_report,
    ),
    (
      '{} lacks training, so it is damaged; delete',
      [OUT],
      DELETED,
      lambda run: files.write_json(run_directory.report_path(run), {}),
    ),
    (
      'config.json has an unknown field',
      [OUT],
      given('workdir', '%runs/a', says='use the (version) of twotsrec'),
      lambda run: told(
        run_directory.config_path(run), model={'name': 'ease', 'wings': 2}
      ),
    ),
    (
      '{} does not hold a configuration; restore',
      [OUT],
      given('workdir', '%runs/a', says='restore it from a (copy)'),
      lambda run: run_directory.config_path(run).write_text('[]'),
    ),
    (
      '{} is not valid JSON ({}); restore it from a',
      [OUT],
      given('workdir', '%runs/a', says='restore it from a (copy)'),
      lambda run: run_directory.config_path(run).write_text('{'),
    ),
    (
      'directories.py: ({} its content has changed {})',
      [OUT],
      done(
        lambda folder: (
          shutil.rmtree(folder / 'run' / 'ids'),
          finished_again(folder),
        ),
        'delete .*ids and repeat the training command',
      ),
      lambda run: np.save(
        run / 'ids' / 'items.npy', np.load(run / 'ids' / 'items.npy')[::-1]
      ),
    ),
  )
]


@pytest.mark.parametrize(
  'case', [*RECOMMEND, *COPIES], ids=lambda case: case.name
)
def test_lists_are_made_as_advised(case, runs, capsys, tmp_path):
  followed('recommend', case, runs, capsys, tmp_path)


@pytest.mark.parametrize('case', EVALUATE, ids=lambda case: case.name)
def test_runs_are_evaluated_as_advised(case, runs, capsys, tmp_path):
  followed('evaluate', case, runs, capsys, tmp_path)
