"""What the scripts refuse that read finished runs, followed."""

import atexit
import contextlib
import pathlib
import runpy
import shutil
import sqlite3

import numpy as np
import pytest

from tests.advice import following
from tests.advice.following import Case
from tests.advice.following import done
from tests.advice.following import dropped
from tests.advice.following import given
from tests.advice.following import together
from tests.advice.following import written
from tests.launch import scripts
from tests.launch.conftest import undone  # noqa: F401
from tests.runs import played
from twotsrec import config as config_lib
from twotsrec.data import interactions
from twotsrec.data import pipeline
from twotsrec.data import settings
from twotsrec.data import tables
from twotsrec.runs import run as run_lib
from twotsrec.training import files
from twotsrec.training import run_directory

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


@pytest.fixture(scope='module')
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
    config = config_lib.Config()
    changes = {'model.name': 'ease', 'data.prepared': str(folder / data)}
    changes |= {'groups.num_groups': 2, 'evaluation.bootstrap': 20}
    changes |= {'evaluation.ks': (1, 3)}
    config_lib.change(config, {**changes, **more})
    run_lib.train(config, str(folder / name), lambda: 0, quiet=True)
  return folder


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

BOTH = '--runs=%runs/a,%runs/b'
COMPARE = [
  Case(says, asked, [way])
  for says, asked, way in (
    (
      'compare.py: {} names for {} systems',
      [BOTH, '--names=A'],
      given('names', 'A,B', says='(one for each)'),
    ),
    (
      'a run without a name in {}',
      ['--runs=%runs/a+,%runs/b'],
      given('runs', '%runs/a,%runs/b', says='(DIR_A,DIR_B)'),
    ),
    (
      'two systems are named {}',
      [BOTH, '--names=A,A'],
      given('names', 'A,B'),
    ),
    (
      'system to compare ({}); name two or more',
      ['--runs=%runs/a'],
      given('runs', '%runs/a:popularity,%runs/a', says='(DIR:popularity,DIR)'),
    ),
    (
      'unequal numbers of seeds',
      ['--runs=%runs/a+%runs/b,%runs/c'],
      given('runs', '%runs/a,%runs/b', says='(as many for each)'),
    ),
    (
      '{} is named twice; name each run once',
      ['--runs=%runs/a,%runs/a'],
      given('runs', '%runs/a,%runs/b', says='(name each run once)'),
    ),
    (
      '--out={} must end in .json or .md',
      [BOTH, '--out=@/t.txt'],
      given('out', '@/t.md', says='(.md)'),
    ),
    (
      'resamples are too few for {} groups',
      [BOTH, '--resamples=10'],
      given('resamples', says=r'use (\d+) or more'),
    ),
    (
      'runs on other data, groups or protocol',
      ['--runs=%runs/a,%runs/c'],
      given('runs', '%runs/a,%runs/b', says='(choose others)'),
    ),
    (
      'no rule {} stands beside the model of',
      ['--runs=%runs/a:random,%runs/a'],
      given('runs', '%runs/a:popularity,%runs/a', says='known: .*(popularity)'),
    ),
    (
      'has no parts, since its data have no',
      [BOTH, '--by=parts'],
      given('by', says='compare by (groups)'),
    ),
    (
      'report.py: unknown metric {}; known',
      [BOTH, '--metrics=hr@7'],
      given('metrics', says=r'known: .*(hr@3)'),
    ),
  )
]
EVALUATE = [
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

EASE = ['--config=%configs/closed_form.py', '--config.groups.num_groups=2']
EASE += ['--config.data.prepared=%runs/data', '--config.evaluation.ks=(1,3)']
EASE += ['--config.evaluation.bootstrap=20', '--config.closed_form.l2=9.0']
TRAIN = [
  Case(
    'holds a run with another config',
    [*EASE, A],
    [given('workdir', '@/other', says='another --(workdir)')],
  ),
  Case(
    'has checkpoints but no config.json',
    [*EASE, '--workdir=@/run'],
    [given('workdir', '@/other', says='another --(workdir)')],
    {'run/checkpoints/x': ''},
  ),
  Case(
    '--{} is missing; see --help',
    EASE,
    [given('workdir', '@/other', says='--(workdir)')],
  ),
  Case(
    '{}: nothing reads it/them {}',
    [*EASE, '--workdir=@/run', '--data_root=x'],
    [dropped('data_root')],
  ),
]


def locked(path, runs):
  """Another process trains there."""
  path.mkdir()
  file = open(path / '.lock', 'a+', encoding='utf-8')
  assert files.flock(file.fileno(), wait=False)
  atexit.register(file.close)  # it stays locked until then


TRAIN += [
  Case(
    'is training in {}; wait for it or use',
    [*EASE, '--workdir=@/run'],
    [given('workdir', '@/other', says='another --(workdir)')],
    {'run': locked},
  ),
]
OTHER = '--workdir=@/other'
MINE = """import pathlib

from twotsrec import config

HERE = pathlib.Path(__file__).parent


def get_config():
  made = config.Config()
  made.model.name, made.groups.num_groups = 'ease', 2
  made.data.prepared = str(HERE / 'data')
  made.evaluation.bootstrap = 20
  return made
"""


def first_the_file(text, asked, folder):
  assert 'give --config first' in text
  return sorted(asked, key=lambda flag: not flag.startswith('--config='))


CONFIG = [
  Case(says, [*EASE, OTHER, asked], [way])
  for says, asked, way in (
    (
      'name a file, as in --config=configs/',
      '--config=%configs/clsoed_form.py',
      given('config', '%configs/closed_form.py', says='(name a file)'),
    ),
    (
      "no field 'nmae'; known",
      '--config.model.nmae=ease',
      dropped('config.model.nmae', 'known: name, '),
    ),
    (
      "no field 'modle'; known",
      '--config.modle.name=ease',
      dropped('config.modle.name', 'known: data, .*model'),
    ),
    (
      '--config.groups.num_groups',
      '--config.groups.num_groups=few',
      given('config.groups.num_groups', '2', says='(int)'),
    ),
  )
]
CONFIG[0] = CONFIG[0]._replace(
  asked=[CONFIG[0].asked[-1], *EASE[1:], OTHER],
  ways=[*CONFIG[0].ways, first_the_file],
)
CONFIG.append(
  Case(
    'settings follow --config=FILE; give --config first',
    [*EASE[1:], EASE[0], OTHER],
    [first_the_file],
  )
)
CONFIG.append(
  Case(
    'get_config() gives a {}, not a',
    ['--config=@/mine.py', OTHER],
    [written('mine.py', MINE, 'not a twotsrec.config.Config; see configs/')],
    {
      'mine.py': MINE.replace('return made', 'return 3'),
      'data': lambda path, runs: shutil.copytree(runs / 'data', path),
    },
  )
)


def begun_on_other_data(path, runs):
  """Trains without a report; what it was trained on is changed then."""
  config = runpy.run_path(str(path.parent / 'mine.py'))['get_config']()
  run_lib.train(config, str(path), lambda: 0, quiet=True)
  without_report(path)
  shutil.move(path.parent / 'data', path.parent / 'right')
  shutil.copytree(runs / 'plain', path.parent / 'data')


def restored(folder):
  shutil.rmtree(folder / 'data')
  shutil.move(folder / 'right', folder / 'data')


TRAIN += [
  Case(
    'the data have changed since the run in {} was',
    ['--config=@/mine.py', '--workdir=@/run'],
    [way],
    {
      'mine.py': MINE,
      'data': lambda path, runs: shutil.copytree(runs / 'data', path),
      'run': begun_on_other_data,
    },
  )
  for way in (
    done(restored, 'restore them'),
    given('workdir', '@/other', says='another --(workdir)'),
  )
]

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


def made_like(run, change=None):
  """Makes a copy of a run, and changes it."""

  def make(path, runs):
    shutil.copytree(runs / run, path)
    if change:
      change(path)

  return make


def told(path, **changes):
  """Changes a file of JSON."""
  files.write_json(path, {**files.read_json(path), **changes})


def finished_again(folder):
  """Repeats the training command of a copied run."""
  config = run_directory.typed_config(str(folder / 'run'))
  run_lib.train(config, str(folder / 'run'), lambda: 0, quiet=True)


def without_report(path):
  run_directory.report_path(path).unlink()


def shown_again(folder):
  run_directory.report_path(folder / 'run').unlink()
  finished_again(folder)


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

RUN = '--workdir=@/run'
FINISH = done(finished_again, 'launch/train.py with the same --workdir')
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
PAIR = '--runs=@/run,%runs/b'
OF_REPORTS = [
  Case(says, [PAIR], [way], {'run': made_like('a', change)})
  for says, way, change in (
    (
      'compared_runs.py: training has not finished (no',
      FINISH,
      without_report,
    ),
    (
      '{} lacks {}, so it is damaged or of another',
      given('runs', '%runs/a,%runs/b', says='train (again) in an empty'),
      lambda run: files.write_json(run_directory.report_path(run), {}),
    ),
  )
]
DRAW = [
  Case(says, asked, [way], {'run': made_like('a', change)} if change else {})
  for says, asked, way, change in (
    (
      '--out={} is of no known kind; end it in',
      [BOTH, '--out=@/g.txt'],
      given('out', '@/g.svg', says=r'end it in .*(\.svg)'),
      None,
    ),
    (
      'give either --runs or --numbers; see',
      ['--out=@/g.svg'],
      given('runs', '%runs/a,%runs/b'),
      None,
    ),
    (
      '--names={} must name {} runs apart',
      [BOTH, '--names=A', '--out=@/g.svg'],
      given('names', 'A,B', says='must name (2) runs'),
      None,
    ),
    (
      '{} has no report.json; finish it with its',
      [PAIR, '--out=@/g.svg'],
      done(finished_again, 'finish it with its own command'),
      without_report,
    ),
    (
      '{} lacks test or baselines; delete it and',
      [PAIR, '--out=@/g.svg'],
      done(shown_again, 'delete it and finish'),
      lambda run: (
        told(run_directory.report_path(run), training={}, test=0)
        or files.write_json(run_directory.report_path(run), {'training': {}})
      ),
    ),
    (
      '{} has other groups than {}; draw runs on',
      ['--runs=%runs/a,%runs/c', '--out=@/g.svg'],
      given('runs', '%runs/a,%runs/b', says='draw runs on the (same data)'),
      None,
    ),
    (
      'draw.py: has no metric {}; it has',
      [BOTH, '--out=@/g.svg', '--metrics=hr@7'],
      given('metrics', says=r'it has .*(hr@3)'),
      None,
    ),
  )
]


def _followed(script, case, runs, capsys, folder):
  """Follows a case of a script; %runs stands for the finished ones."""

  def attempt(asked):
    ended = scripts.run(capsys, script, *asked)
    assert ended.code in (0, 2), ended
    return ended.err.removeprefix('error: ').strip() if ended.code else ''

  put = lambda flag: flag.replace('%runs', str(runs)).replace(
    '%configs', str(scripts.ROOT / 'configs')
  )

  def placed(way):
    return lambda text, asked, folder: [*map(put, way(text, asked, folder))]

  def setup(content):
    if not callable(content):
      return content
    return lambda path: content(path, runs)

  case = case._replace(
    asked=[*map(put, case.asked)],
    ways=[*map(placed, case.ways)],
    files={name: setup(content) for name, content in case.files.items()},
  )
  following.follow(case, attempt, folder)


CASES = [
  *(*RECOMMEND, *COMPARE, *EVALUATE, *TRAIN, *ONLINE),
  *(*COPIES, *OF_REPORTS, *DRAW, *OF_STORES, CONFIG[-1]),
]


@pytest.mark.parametrize(
  'case', [*RECOMMEND, *COPIES], ids=lambda case: case.name
)
def test_lists_are_made_as_advised(case, runs, capsys, tmp_path):
  _followed('recommend', case, runs, capsys, tmp_path)


@pytest.mark.parametrize(
  'case', [*COMPARE, *OF_REPORTS], ids=lambda case: case.name
)
def test_runs_are_compared_as_advised(case, runs, capsys, tmp_path):
  _followed('compare', case, runs, capsys, tmp_path)


@pytest.mark.parametrize('case', EVALUATE, ids=lambda case: case.name)
def test_runs_are_evaluated_as_advised(case, runs, capsys, tmp_path):
  _followed('evaluate', case, runs, capsys, tmp_path)


@pytest.mark.parametrize('case', DRAW, ids=lambda case: case.name)
def test_runs_are_drawn_as_advised(case, runs, capsys, tmp_path):
  pytest.importorskip('matplotlib')
  _followed('draw', case, runs, capsys, tmp_path)


@pytest.mark.filterwarnings('ignore:the load_module:DeprecationWarning')
@pytest.mark.parametrize('case', [*TRAIN, *CONFIG], ids=lambda case: case.name)
def test_runs_are_trained_as_advised(case, runs, capsys, tmp_path, undone):  # noqa: F811
  _followed('train', case, runs, capsys, tmp_path)


@pytest.mark.parametrize(
  'case', [*ONLINE, *OF_STORES], ids=lambda case: case.name
)
def test_states_are_moved_as_advised(case, streams, capsys, tmp_path):
  _followed('online', case, streams, capsys, tmp_path)


@pytest.fixture(scope='module')
def streams(tmp_path_factory) -> pathlib.Path:
  """A finished run of 2TS, `events`."""
  folder = tmp_path_factory.mktemp('streams')
  played.saved_run(folder / 'events')
  return folder
