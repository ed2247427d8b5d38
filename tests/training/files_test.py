"""Small files are replaced wholly, and JSON is strict."""

import json
import os
import pathlib

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import jax.numpy as jnp
import numpy as np
import pytest

from twotsrec import types
from twotsrec.training import files


class Killed(BaseException):
  """Stands for SIGKILL."""


def test_a_file_keeps_its_old_content_until_the_new_is_complete(tmp_path):
  path = tmp_path / 'a'
  path.write_bytes(b'old')
  with pytest.raises(Killed), files.replacing(path) as file:
    file.write(b'ne')
    raise Killed
  assert path.read_bytes() == b'old'
  with files.replacing(path) as file:
    file.write(b'new')
  assert path.read_bytes() == b'new'
  assert os.listdir(tmp_path) == ['a']


@pytest.mark.parametrize(
  ('number', 'way_out'),
  [(28, 'free some space'), (30, 'a folder you can write'), (13, 'a folder')],
)
def test_errors_of_the_disk_name_file_reason_and_way_out(number, way_out):
  reason = os.strerror(number)
  with pytest.raises(types.UserError) as raised, files.explained('x', 'write'):
    raise OSError(number, reason, 'x/y')
  assert str(raised.value).startswith(f'cannot write x/y: {reason}; ')
  assert way_out in str(raised.value)


def test_a_lock_is_held_until_the_file_is_closed(tmp_path):
  with open(tmp_path / 'lock', 'w') as first, open(tmp_path / 'lock') as other:
    assert files.flock(first.fileno(), wait=False)
    assert not files.flock(other.fileno(), wait=False)
    first.close()
    assert files.flock(other.fileno(), wait=False)


def test_arrays_tuples_and_undefined_numbers_become_json():
  value = {
    'f32': np.float32(0.5),
    'i64': np.int64(3),
    'array': np.array([1.0, np.nan]),
    'jax': jnp.arange(2),
    'tuple': (float('inf'), True, None),
    'path': pathlib.PurePosixPath('a/b'),
    4: 'name',
  }
  assert files.jsonable(value) == {
    'f32': 0.5,
    'i64': 3,
    'array': [1.0, None],
    'jax': [0, 1],
    'tuple': [None, True, None],
    'path': 'a/b',
    '4': 'name',
  }


json_values = st.recursive(
  st.none() | st.booleans() | st.integers() | st.text()
  | st.floats(allow_nan=False, allow_infinity=False),
  lambda inner: st.lists(inner, max_size=3)
  | st.dictionaries(st.text(), inner, max_size=3),
  max_leaves=8,
)  # fmt: skip


@given(value=json_values)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_json_comes_back_as_it_was(tmp_path_factory, value):
  path = tmp_path_factory.getbasetemp() / 'value.json'
  files.write_json(path, value)
  assert files.read_json(path) == value
  assert json.loads(path.read_text(encoding='utf-8')) == value


@pytest.mark.parametrize('content', [b'', b'{"a": ', b'\xff\xfe\x00'])
def test_damaged_json_is_a_user_error(tmp_path, content):
  (tmp_path / 'a.json').write_bytes(content)
  with pytest.raises(types.UserError, match=r'a\.json is not valid JSON'):
    files.read_json(tmp_path / 'a.json')


def test_a_missing_file_is_a_user_error(tmp_path):
  with pytest.raises(types.UserError, match='cannot read .*No such file'):
    files.read_json(tmp_path / 'a.json')
