"""An exported folder answers as its run, and alone."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest

from tests import finished
from tests.runs import kinds
from twotsrec import serving
from twotsrec import types
from twotsrec.ops import rows
from twotsrec.runs import exports
from twotsrec.serving import export_folder
from twotsrec.serving import exported
from twotsrec.serving import exporting

REFUSED = 'separate', 'cascading_rank'
ALONE = [kind for kind in kinds.KINDS if kind not in REFUSED]
BLOCKED = ('absl', 'chex', 'flax', 'flatbuffers', 'ml_collections', 'optax')
BLOCKED += ('orbax', 'polars', 'rich')
_ASK = """
import json, sys

class Blocked:
  def find_spec(self, name, path=None, target=None):
    if name.split('.')[0] in {blocked}:
      raise ImportError(name)

sys.meta_path.insert(0, Blocked())
from twotsrec import serving
shop = serving.load_exported({folder!r})
lists = shop.recommend(users={users}, k=5)
print(json.dumps({{
  'items': [one.items.tolist() for one in lists],
  'scores': [one.scores.tolist() for one in lists],
  'modules': sorted(name for name in sys.modules if '.' not in name),
}}))
"""


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
  """Exports by kind, each made when it is asked for."""
  made, place = {}, tmp_path_factory.mktemp('exports')

  def of(kind):
    if kind not in made:
      made[kind] = place / kind
      exports.run(str(kinds.KINDS[kind]()), str(made[kind]))
    return made[kind]

  return of


def _close(found, expected):
  """Scores that are equal to a millionth of the largest."""
  near = 1e-6 * max(1.0, float(np.max(np.abs(expected), initial=0)))
  np.testing.assert_allclose(found, expected, rtol=1e-6, atol=near)


def _equal(found, expected):
  """Lists with the same scores; items where rounding could not turn them."""
  assert len(found) == len(expected)
  for one, other in zip(found, expected):
    _close(one.scores, other.scores)
    gaps = np.abs(np.diff(other.scores))
    if np.all(gaps > 1e-5 * np.max(np.abs(other.scores), initial=0)):
      assert one.items.tolist() == other.items.tolist()


@pytest.mark.parametrize('kind', ALONE)
def test_an_export_answers_as_its_run(kind, folders):
  run = serving.open(kinds.KINDS[kind]())
  shop = serving.open(folders(kind))
  ids, users = run.people.item_ids.tolist(), run.people.user_ids
  for user in users[:6].tolist():
    _close(shop.scores(user, ids), run.scores(user, ids))
  category = {name: n % 3 for n, name in enumerate(ids)}
  for asked in (
    {},
    {'at_most': 2, 'categories': category, 'new_share': 0.4},
    {'exclude_seen': False, 'exclude': ids[:3]},
  ):
    lists = [
      one.recommend(users=users[:9].tolist(), k=6, rules=one.rules(**asked))
      for one in (shop, run)
    ]
    _equal(*lists)
  # As long as there are items, and for other numbers of users.
  whole = [one.recommend(users=users[:1], k=999) for one in (shop, run)]
  _equal(*whole)
  _equal(*(one.similar(ids[:3], k=4) for one in (shop, run)))
  assert shop.popular(3).items.tolist() == run.popular(3).items.tolist()
  if run.people.reads_history:
    rows = [ids[:3], ids[2:9] * 3, []]
    _equal(*(one.recommend(history=rows, k=5) for one in (shop, run)))
  else:
    with pytest.raises(types.UserError, match='training data only'):
      shop.recommend(history=ids[:2])


def test_states_of_an_export_move_as_those_of_its_run(folders):
  run, shop = serving.open(kinds.KINDS['2ts']()), serving.open(folders('2ts'))
  ids, users = run.people.item_ids, [*run.people.user_ids[:5].tolist(), 'new']
  rng, both = np.random.default_rng(0), (run.states(), shop.states())
  now = [states.start(users) for states in both]
  for items in rng.choice(ids, (4, 6)).tolist():
    items[2] = 'not there yet'
    now = [states.update(of, items) for states, of in zip(both, now)]
  for name, values in now[0].items():
    np.testing.assert_allclose(now[1][name], values, rtol=1e-6, atol=1e-6)
  assert now[0]['skipped'].tolist() == [0, 0, 4, 0, 0, 0]
  _equal(*(states.recommend(of, k=7) for states, of in zip(both, now)))
  assert serving.open(folders('ga')).states is None


@pytest.mark.parametrize('kind', ['ga', 'copf'])
def test_jax_and_numpy_are_enough(kind, folders):
  users = serving.open(folders(kind)).people.user_ids[:4].tolist()
  root = pathlib.Path(exports.__file__).parents[2]
  script = _ASK.format(blocked=BLOCKED, folder=str(folders(kind)), users=users)
  done = subprocess.run(
    [sys.executable, '-c', script],
    capture_output=True,
    text=True,
    env={**os.environ, 'PYTHONPATH': str(root)},
    check=True,
  )
  said = json.loads(done.stdout)
  assert not set(BLOCKED) & set(said['modules'])
  expected = serving.open(kinds.KINDS[kind]()).recommend(users=users, k=5)
  for scores, one in zip(said['scores'], expected, strict=True):
    _close(scores, one.scores)


def test_the_manifest_has_signatures_and_digests(folders):
  folder = folders('ga')
  manifest = json.loads((folder / 'manifest.json').read_bytes())
  people = serving.open(folder).people
  assert manifest['platforms'] == ['cpu', 'cuda', 'tpu']
  assert set(manifest['files']) == {file.name for file in folder.iterdir()} - {
    'manifest.json'
  }
  length, count = people.history_length, len(people.item_ids)
  who = [
    ['history', 'int32', ['b', length]],
    ['user', 'int32', ['b']],
    ['groups', 'int32', ['b', 1]],
    ['shares', 'float32', ['b', 1]],
  ]
  programs = manifest['programs']
  assert programs['encode']['inputs'] == who
  assert programs['scores']['inputs'] == [*who, ['items', 'int32', ['b', 'c']]]
  assert programs['scores']['outputs'] == [['out_0', 'float32', ['b', 'c']]]
  lengths = exporting.lengths(count)
  assert lengths[-1] == count and manifest['lengths'] == lengths
  assert {f'top_{n}' for n in lengths} < set(programs)
  # What the graphs gave is in the tables, so no graph is there.
  copf = json.loads((folders('copf') / 'manifest.json').read_bytes())
  names = copf['programs']['scores']['weights']
  assert names and not any(name.startswith('context') for name in names)


def test_what_is_encoded_is_what_is_scored(folders):
  """Scores of the items by the encoding are those of the other program."""
  folder = export_folder.read(folders('every_position'))
  program = exported.open_program(folder)
  ranker = kinds.loaded('every_position').ranker
  history = np.zeros((3, ranker.history_length), np.int32)
  history[0, :2], history[1, :1] = (4, 2), (7,)
  who = [history, np.full(3, -1, np.int32)]
  who += [np.zeros((3, 1), np.int32), np.ones((3, 1), np.float32)]
  items = np.array([[1, 2], [3, 4], [5, 6]], np.int32)
  (found,) = program('scores')(*who, items)
  encoded = program('encode')(*who)
  inner = jax.tree.unflatten(
    jax.tree.structure(_encoded(ranker, who)), list(encoded)
  )
  table = rows.gather(ranker.params.tables['item'], items)
  expected = ranker.model.score(ranker.params.net, inner, table)
  _close(found, np.asarray(expected))


def _encoded(ranker, who):
  """What the model makes of the same users."""
  history, user, groups, shares = who
  inputs = {
    'history': history, 'user': user, 'route': types.Route(groups, shares),
  }  # fmt: skip
  table = rows.gather(ranker.params.tables['item'], history)
  return ranker.model.encode(ranker.params.net, table, ranker.context, inputs)


def _files():
  names = [export_folder.MANIFEST, export_folder.WEIGHTS, export_folder.PEOPLE]
  return [*names, 'user_ids.npy', 'item_ids.npy', 'scores.stablehlo']


@pytest.mark.parametrize('name', _files())
@pytest.mark.parametrize('how', ['missing', 'cut', 'changed'])
def test_a_damaged_folder_is_refused_by_the_name_of_the_file(
  name, how, folders, tmp_path
):
  folder = pathlib.Path(shutil.copytree(folders('ga'), tmp_path / 'copied'))
  file = folder / name
  data = bytearray(file.read_bytes())
  if how == 'missing':
    file.unlink()
  elif how == 'cut':
    file.write_bytes(data[: len(data) // 2])
  else:
    data[0 if name == export_folder.MANIFEST else len(data) // 2] ^= 1
    file.write_bytes(data)
  with pytest.raises(types.UserError) as error:
    serving.load_exported(folder)
  assert str(error.value).startswith(f'{file}: ')
  assert 'launch/export.py' in str(error.value)
  assert len(str(error.value).splitlines()) == 1


def test_an_older_export_stays_until_the_new_one_is_whole(folders, tmp_path):
  out = tmp_path / 'shop'
  run = str(finished.run())
  said = exports.run(run, str(out), ['cpu'])
  assert '25 users' in said and 'for cpu' in said
  with pytest.raises(types.UserError, match='exists; name another folder'):
    exports.run(run, str(out), ['cpu'])
  exports.run(run, str(out), ['cpu'], overwrite=True)
  assert serving.open(out).recommend(users=[1], k=2)
  (tmp_path / 'mine').mkdir()
  (tmp_path / 'mine' / 'thesis.tex').touch()
  with pytest.raises(types.UserError, match='exists'):
    exports.run(run, str(tmp_path / 'mine'), overwrite=True)


@pytest.mark.parametrize('kind', REFUSED)
def test_what_cannot_be_exported_is_refused_in_a_line(kind, tmp_path):
  with pytest.raises(types.UserError, match='cannot be exported') as error:
    exports.run(str(kinds.KINDS[kind]()), str(tmp_path / 'out'))
  assert len(str(error.value).splitlines()) == 1
  assert 'serving.open' in str(error.value)
  assert not list(tmp_path.iterdir())
