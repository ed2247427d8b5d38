"""Files are written with pickle here; the package reads them without it."""

import os
import pathlib
import pickle

import hypothesis
from hypothesis import strategies
import numpy as np
import pytest
from scipy import sparse

from twotsrec import types
from twotsrec.data import arrays_only

PROTOCOLS = range(6)
SHAPE = (5, 7)
settings = hypothesis.settings(max_examples=40, deadline=None, derandomize=True)


def dense(kind=np.float64, seed=0):
  rng = np.random.default_rng(seed)
  stored = rng.random(SHAPE) < 0.4
  return np.where(stored, rng.integers(1, 9, SHAPE), 0).astype(kind)


def read_matrix(content, folder):
  path = folder / 'trn_buy'
  path.write_bytes(content)
  return arrays_only.read_matrix(path)


def read_lists(content, folder):
  path = folder / 'tst_int'
  path.write_bytes(content)
  return arrays_only.read_lists(path)


def assert_holds(found, expected):
  row, column = np.nonzero(expected)
  assert found.shape == expected.shape
  np.testing.assert_array_equal(found.row, row)
  np.testing.assert_array_equal(found.column, column)
  np.testing.assert_array_equal(found.value, expected[row, column])


@pytest.mark.parametrize('protocol', PROTOCOLS)
@pytest.mark.parametrize('form', ['csr', 'csc', 'coo'])
@pytest.mark.parametrize('kind', ['matrix', 'array'])
def test_sparse_matrices_are_read(tmp_path, protocol, form, kind):
  expected = dense()
  matrix = getattr(sparse, f'{form}_{kind}')(expected)
  content = pickle.dumps(matrix, protocol)
  assert_holds(read_matrix(content, tmp_path), expected)


@pytest.mark.parametrize('protocol', PROTOCOLS)
@pytest.mark.parametrize(
  'kind', ['bool', 'int8', 'uint16', '>i4', 'int64', 'float32', '>f8']
)
def test_values_of_every_number_type_are_read(tmp_path, protocol, kind):
  # SciPy knows native numbers only, so the values are set afterwards.
  matrix = sparse.coo_matrix(dense())
  matrix.data = matrix.data.astype(kind)
  found = read_matrix(pickle.dumps(matrix, protocol), tmp_path)
  np.testing.assert_array_equal(found.value, matrix.data)
  assert found.value.dtype == matrix.data.dtype.newbyteorder('=')


@pytest.mark.parametrize('protocol', PROTOCOLS)
@pytest.mark.parametrize('form', ['csr', 'csc', 'coo'])
def test_a_matrix_without_entries_is_read(tmp_path, protocol, form):
  matrix = getattr(sparse, f'{form}_matrix')(SHAPE)
  found = read_matrix(pickle.dumps(matrix, protocol), tmp_path)
  assert found.shape == SHAPE and len(found.row) == 0


def test_stored_zeros_and_the_order_inside_a_row_are_kept(tmp_path):
  values = np.array([3, 0, 5])
  matrix = sparse.csr_matrix((values, [4, 1, 2], [0, 2, 2, 3]), (3, 6))
  found = read_matrix(pickle.dumps(matrix), tmp_path)
  assert found.row.tolist() == [0, 0, 2]
  assert found.column.tolist() == [4, 1, 2]
  assert found.value.tolist() == [3, 0, 5]


def test_room_after_the_last_entry_is_no_entry(tmp_path):
  matrix = sparse.csr_matrix(dense())
  expected = matrix.toarray()
  matrix.data = np.append(matrix.data, [1.0, 1.0])
  matrix.indices = np.append(matrix.indices, [0, 0]).astype(np.int32)
  assert_holds(read_matrix(pickle.dumps(matrix), tmp_path), expected)


@pytest.mark.parametrize('protocol', [0, 1, 2])
def test_the_names_of_older_libraries_are_known(tmp_path, protocol):
  content = pickle.dumps(sparse.csr_matrix(dense()), protocol)
  for new, old in (
    (b'numpy._core', b'numpy.core'),
    (b'scipy.sparse._csr', b'scipy.sparse.csr'),
  ):
    assert new in content
    content = content.replace(new, old)
  assert_holds(read_matrix(content, tmp_path), dense())


ENTRIES = [3, None, [1, 2], 2**40, -1, [], (5,)]
AS_LISTS = [[3], [], [1, 2], [2**40], [-1], [], [5]]


@pytest.mark.parametrize('protocol', PROTOCOLS)
@pytest.mark.parametrize('as_array', [False, True])
def test_lists_of_integers_none_and_lists_are_read(
  tmp_path, protocol, as_array
):
  value = ENTRIES
  if as_array:
    value = np.empty(len(ENTRIES), object)
    value[:] = ENTRIES
  found = read_lists(pickle.dumps(value, protocol), tmp_path)
  assert found == AS_LISTS


@pytest.mark.parametrize('protocol', PROTOCOLS)
def test_numbers_of_numpy_are_integers_too(tmp_path, protocol):
  value = [np.int64(3), np.array([4, 5]), [np.uint8(6), 7], None]
  found = read_lists(pickle.dumps(value, protocol), tmp_path)
  assert found == [[3], [4, 5], [6, 7], []]
  whole = np.asfortranarray([8, 9])
  assert read_lists(pickle.dumps(whole, protocol), tmp_path) == [[8], [9]]


@settings
@hypothesis.given(
  strategies.lists(
    strategies.none()
    | strategies.integers(-(2**70), 2**70)
    | strategies.lists(strategies.integers())
  ),
  strategies.sampled_from(PROTOCOLS),
)
def test_any_list_of_the_format_is_read(tmp_path_factory, value, protocol):
  found = read_lists(
    pickle.dumps(value, protocol), tmp_path_factory.mktemp('lists')
  )
  as_list = lambda entry: entry if isinstance(entry, list) else [entry]
  assert found == [[] if one is None else as_list(one) for one in value]


def test_a_list_of_python_2_is_read(tmp_path):
  # Bytes are text there; the array is [1, 2] of i64.
  raw = np.array([1, 2], '<i8').tobytes()
  content = (
    b'\x80\x02cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\n'
    b'K\x00\x85U\x01b\x87R(K\x01K\x02\x85cnumpy\ndtype\nU\x02i8K\x00K\x01\x87R'
    b'(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89'
    + b'U\x10' + raw + b'tb.'
  )  # fmt: skip
  assert read_lists(content, tmp_path) == [[1], [2]]


class Command:
  """What an attack looks like: unpickling calls a function."""

  def __init__(self, path):
    self.path = path

  def __reduce__(self):
    return os.mkdir, (str(self.path),)


@pytest.mark.parametrize('protocol', PROTOCOLS)
@pytest.mark.parametrize('wrap', [lambda x: x, lambda x: [1, x]])
def test_a_file_that_names_a_function_is_refused_and_nothing_runs(
  tmp_path, protocol, wrap
):
  made = tmp_path / 'made'
  content = pickle.dumps(wrap(Command(made)), protocol)
  for read in (read_lists, read_matrix):
    with pytest.raises(types.UserError) as caught:
      read(content, tmp_path)
    message = str(caught.value)
    assert f'{os.mkdir.__module__}.mkdir' in message
    assert 'nothing was run' in message and len(message.splitlines()) == 1
  assert not made.exists()


@pytest.mark.parametrize(
  'value',
  [
    complex(1),
    pathlib.PurePosixPath('a'),
    np.random.default_rng(0),
    sparse.lil_matrix((2, 2)),
    np.ma.masked_array([1]),
    {1, 2},
  ],
)
def test_other_objects_are_refused_in_one_line(tmp_path, value):
  for read in (read_lists, read_matrix):
    with pytest.raises(types.UserError) as caught:
      read(pickle.dumps(value), tmp_path)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
  'content',
  [
    b'\x80\x02cos\nsystem\nX\x02\x00\x00\x00ls\x85R.',
    b"(S'ls'\nios\nsystem\n.",
    b'\x80\x04\x8c\x02os\x8c\x06system\x93.',
    b'Pname\n.',
    b'\x80\x02\x82\x01.',
    b"c__builtin__\neval\n(S'1'\ntR.",
    b'cnumpy.core.multiarray\nfromfile\n.',
    b'cnumpy\nload\n.',
  ],
)
def test_no_opcode_gives_a_way_around(tmp_path, content):
  with pytest.raises(types.UserError):
    read_lists(content, tmp_path)


@pytest.mark.parametrize(
  ('value', 'message'),
  [
    (3, 'holds no list'),
    ('text', 'holds no list'),
    ([1.5], 'an entry is a float'),
    ([True], 'an entry is a bool'),
    ([[[1]]], 'an entry is a list'),
    (np.array(['a']), "holds 'U1', which are no numbers"),
    (sparse.csr_matrix((2, 2)), 'holds no list'),
  ],
)
def test_a_list_of_other_things_is_an_error(tmp_path, value, message):
  with pytest.raises(types.UserError, match=message):
    read_lists(pickle.dumps(value), tmp_path)


@pytest.mark.parametrize('value', [[1], 3, None, np.zeros((2, 2))])
def test_a_matrix_file_with_something_else_is_an_error(tmp_path, value):
  with pytest.raises(types.UserError, match='no csr or csc or coo'):
    read_matrix(pickle.dumps(value), tmp_path)


def broken(**state):
  """A matrix whose arrays disagree."""
  matrix = sparse.csr_matrix(dense())
  matrix.__dict__.update(state)
  return matrix


@pytest.mark.parametrize(
  'state',
  [
    {'indptr': np.array([0, 1])},
    {'indptr': np.array([0, 3, 2, 4, 4, 4])},
    {'indptr': np.array([0, 0, 0, 0, 0, 999])},
    {'indices': np.array([0])},
    {'data': np.ones((2, 2))},
    {'_shape': (5, 2)},
    {'_shape': (5,)},
    {'_shape': ('5', 7)},
    {'data': None},
  ],
)
def test_a_matrix_that_contradicts_itself_is_an_error(tmp_path, state):
  with pytest.raises(types.UserError, match='trn_buy'):
    read_matrix(pickle.dumps(broken(**state)), tmp_path)


@pytest.mark.parametrize('content', [b'', b'.', b'user_id,item_id\n', b'\x80'])
def test_a_file_that_is_no_pickle_is_an_error(tmp_path, content):
  for read in (read_lists, read_matrix):
    with pytest.raises(types.UserError, match='is damaged'):
      read(content, tmp_path)


def test_a_missing_file_is_an_error(tmp_path):
  with pytest.raises(types.UserError, match='cannot read'):
    arrays_only.read_lists(tmp_path / 'none')


@hypothesis.settings(max_examples=200, deadline=None, derandomize=True)
@hypothesis.given(
  strategies.sampled_from(PROTOCOLS),
  strategies.lists(
    strategies.tuples(strategies.floats(0, 1), strategies.binary(max_size=3)),
    min_size=1,
    max_size=4,
  ),
)
def test_a_damaged_file_is_read_or_is_an_error_in_words(
  tmp_path_factory, protocol, changes
):
  folder = tmp_path_factory.mktemp('damaged')
  for value, read in (
    (sparse.csr_matrix(dense()), read_matrix),
    (sparse.coo_matrix(dense()), read_matrix),
    ([3, None, [np.int64(4)], np.array([1, 2])], read_lists),
  ):
    content = bytearray(pickle.dumps(value, protocol))
    for place, new in changes:
      start = int(place * len(content))
      content[start : start + 1] = new
    try:
      read(bytes(content), folder)
    except types.UserError as error:
      assert len(str(error).splitlines()) == 1
