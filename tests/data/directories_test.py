import numpy as np
import pytest

from twotsrec.data import directories


def test_a_directory_appears_whole_or_not_at_all(tmp_path):
  target = tmp_path / 'out'

  def half(folder):
    (folder / 'one').write_text('1')
    raise OSError(28, 'No space left on device')

  with pytest.raises(OSError):
    directories.write(target, half)
  assert not list(tmp_path.iterdir())
  directories.write(target, lambda folder: (folder / 'a').write_text('1'))
  with pytest.raises(OSError):
    directories.write(target, half)
  assert [path.name for path in target.iterdir()] == ['a']
  directories.write(target, lambda folder: (folder / 'b').write_text('1'))
  assert [path.name for path in target.iterdir()] == ['b']
  assert [path.name for path in tmp_path.iterdir()] == ['out']


def test_an_empty_directory_holds_no_data(tmp_path):
  assert not directories.holds_data(tmp_path / 'none')
  assert not directories.holds_data(tmp_path)
  (tmp_path / 'file').write_text('')
  assert directories.holds_data(tmp_path)
  assert directories.holds_data(tmp_path / 'file')


def test_equal_arrays_have_equal_descriptions():
  array = np.arange(12).reshape(3, 4)
  assert directories.describe(array.T) == directories.describe(array.T.copy())
  assert directories.describe(array) != directories.describe(array.T)
  text = np.array(['a', 'bc'])
  assert directories.describe(text)['dtype'] == text.dtype.str


def test_equal_values_are_equal_bytes():
  one, same = {'b': 1, 'a': [2]}, {'a': [2], 'b': 1}
  assert directories.json_bytes(one) == directories.json_bytes(same)
