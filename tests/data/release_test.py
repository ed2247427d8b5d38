import pickle

import numpy as np
import pytest
from scipy import sparse

from twotsrec import types
from twotsrec.data import pipeline
from twotsrec.data import prepared
from twotsrec.data import release
from twotsrec.data import tables

NAMES = ('view', 'cart', 'buy')
SHAPE = (6, 9)
FORMS = (sparse.csr_matrix, sparse.csc_array, sparse.coo_matrix)


def matrices(values=lambda rng, shape: np.ones(shape)):
  """A matrix per behavior, every user with five buys or more."""
  rng = np.random.default_rng(0)
  made = {}
  for name, share in zip(NAMES, (0.7, 0.4, 0.9), strict=True):
    stored = rng.random(SHAPE) < share
    stored[:, -1] = False  # the item held out
    made[name] = np.where(stored, values(rng, SHAPE), 0)
  return made


HELD_OUT = [8, None, [8], 8, [], (8,)]


def write(folder, made, held_out=HELD_OUT, protocol=4):
  folder.mkdir(exist_ok=True)
  for form, (name, matrix) in zip(FORMS, made.items(), strict=False):
    (folder / f'trn_{name}').write_bytes(pickle.dumps(form(matrix), protocol))
  (folder / 'tst_int').write_bytes(pickle.dumps(held_out, protocol))
  return str(folder)


def csv(folder, made, held_out=HELD_OUT):
  """The equal tables, as options."""
  folder.mkdir()
  rows = [
    f'{user},{item},{name}\n'
    for name, matrix in made.items()
    for user, item in zip(*np.nonzero(matrix), strict=True)
  ]
  tests = [
    f'{user},8,{NAMES[-1]}\n' for user, items in enumerate(held_out) if items
  ]
  for name, lines in (('train', rows), ('test', tests)):
    text = 'user_id,item_id,behavior\n' + ''.join(lines)
    (folder / f'{name}.csv').write_text(text)
  return pipeline.Options(
    table=str(folder / 'train.csv'),
    test_table=str(folder / 'test.csv'),
    reading=pipeline.TableOptions(columns=tables.Columns(behavior='behavior')),
    behaviors=NAMES,
  )


@pytest.mark.parametrize('protocol', [0, 2, 3, 5])
def test_a_release_and_the_equal_tables_are_prepared_alike(tmp_path, protocol):
  made = matrices()
  folder = write(tmp_path / 'release', made, protocol=protocol)
  data = pipeline.prepare(pipeline.Options(release=folder, behaviors=NAMES))
  other = pipeline.prepare(csv(tmp_path / 'tables', made))
  assert data.manifest['digest'] == other.manifest['digest']
  assert data.manifest['counts']['test'] == 4
  assert data.manifest['counts']['validation'] == SHAPE[0]
  assert data.manifest['source'] == 'release'
  assert data.manifest['history_rule'] == prepared.FIXED
  assert data.manifest['behaviors'] == list(NAMES)


def test_preparing_twice_gives_identical_bytes_wherever_the_release_lies(
  tmp_path,
):
  contents = []
  for place in ('one', 'two'):
    (tmp_path / place).mkdir()
    folder = write(tmp_path / place / 'release', matrices())
    out = tmp_path / place / 'out'
    options = pipeline.Options(release=folder, behaviors=NAMES)
    pipeline.prepare(options, str(out))
    contents.append({path.name: path.read_bytes() for path in out.iterdir()})
  assert contents[0] == contents[1]


def test_stored_seconds_are_times_that_order_training(tmp_path):
  seconds = lambda rng, shape: rng.integers(1.4e9, 1.5e9, shape)
  made = matrices(seconds)
  table = release.load(write(tmp_path / 'release', made), NAMES)
  train = table.split == 'train'
  code = {name: n for n, name in enumerate(NAMES)}
  stacked = np.stack(list(made.values()))
  behavior = [code[name] for name in table.behavior[train]]
  stored = stacked[behavior, table.user[train], table.item[train]]
  by_order = np.argsort(table.order[train])
  assert np.all(np.diff(stored[by_order]) >= 0)
  assert np.min(table.order[~train]) > np.max(table.order[train])
  assert table.time is None and table.ordered_by == 'time'
  options = pipeline.Options(release=str(tmp_path / 'release'), behaviors=NAMES)
  told = pipeline.prepare(options).manifest
  assert told['history_rule'] == prepared.EARLIER
  assert told['report']['ordered_by'] == 'time'


@pytest.mark.parametrize('low', [1, 5])
def test_stored_counts_are_no_times(tmp_path, low):
  made = matrices(lambda rng, shape: rng.integers(low, 9, shape))
  table = release.load(write(tmp_path / 'release', made), NAMES)
  assert table.order is None


def test_a_stored_zero_is_dropped_and_counted(tmp_path):
  folder = write(tmp_path / 'release', matrices())
  matrix = sparse.coo_matrix(matrices()['view'])
  matrix.data[:3] = 0
  (tmp_path / 'release' / 'trn_view').write_bytes(pickle.dumps(matrix))
  options = pipeline.Options(release=folder, behaviors=NAMES)
  told = pipeline.prepare(options).manifest
  assert told['report']['dropped'] == {
    'stored zero (train table)': {'count': 3, 'first_lines': []}
  }
  read = sum(np.count_nonzero(matrix) for matrix in matrices().values())
  assert told['report']['rows_read'] == read + 4


def test_a_behavior_without_entries_is_kept(tmp_path):
  made = matrices()
  made['cart'] = np.zeros(SHAPE)
  folder = write(tmp_path / 'release', made)
  data = pipeline.prepare(pipeline.Options(release=folder, behaviors=NAMES))
  assert data.manifest['behaviors'] == list(NAMES)
  assert sorted(set(data.behaviors.tolist())) == [0, 2]


def test_names_are_those_of_the_files(tmp_path):
  made = {{'view': 'pv'}.get(name, name): m for name, m in matrices().items()}
  folder = write(tmp_path / 'release', made)
  table = release.load(folder, ('pv', 'cart', 'buy'))
  assert set(table.behavior.tolist()) == {'pv', 'cart', 'buy'}
  with pytest.raises(types.UserError) as caught:
    release.load(folder, NAMES)
  for told in ('trn_view', 'has trn_buy, trn_cart, trn_pv, tst_int'):
    assert told in str(caught.value)


@pytest.mark.parametrize(
  ('held_out', 'message'),
  [
    ([8] * 5, '5 entries, but the matrices have 6 users'),
    ([None] * 6, 'holds out no item'),
    ([9] + [None] * 5, 'not among 0 to 8'),
    ([-1] + [None] * 5, 'not among 0 to 8'),
    ([2**70] + [None] * 5, 'not among 0 to 8'),
    ('no list', 'holds no list'),
  ],
)
def test_a_wrong_test_list_is_an_error(tmp_path, held_out, message):
  folder = write(tmp_path / 'release', matrices(), held_out)
  with pytest.raises(types.UserError, match=message):
    release.load(folder, NAMES)


def test_matrices_of_other_shapes_are_an_error(tmp_path):
  made = matrices()
  made['cart'] = made['cart'][:, :-1]
  folder = write(tmp_path / 'release', made)
  with pytest.raises(types.UserError, match=r'trn_cart \(6, 8\)'):
    release.load(folder, NAMES)


def test_a_folder_without_the_files_says_so(tmp_path):
  with pytest.raises(types.UserError, match=r'has no trn_\* or tst_int'):
    release.load(tmp_path, NAMES)
  with pytest.raises(types.UserError, match='none is no folder'):
    release.load(tmp_path / 'none', NAMES)


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'behaviors': ()}, r'--behaviors=view,cart,buy; .* has trn_buy, trn_cart'),
    ({'table': 'log.csv'}, 'not both'),
    ({'test_table': 'log.csv'}, 'go with --table, not with --release'),
    ({'split': pipeline.SplitOptions('date')}, 'carry a split of their own'),
  ],
)
def test_wrong_options_are_errors(tmp_path, options, message):
  folder = write(tmp_path / 'release', matrices())
  wanted = pipeline.Options(release=folder, behaviors=NAMES)
  with pytest.raises(types.UserError, match=message):
    pipeline.prepare(wanted._replace(**options))
