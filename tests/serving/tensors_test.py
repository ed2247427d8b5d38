import numpy as np
import pytest

from twotsrec.serving import tensors


def _arrays():
  rng = np.random.default_rng(0)
  names = ('?', 'u1', 'i1', 'i2', 'u2', 'i4', 'u4', 'i8', 'u8')
  made = {name: rng.integers(0, 2, (3, 5)).astype(name) for name in names}
  made |= {name: rng.normal(size=7).astype(name) for name in ('f2', 'f4', 'f8')}
  made |= {'none': np.zeros((0, 4), 'f4'), 'one': np.array(2.5)}
  return made | {'columns': np.asfortranarray(rng.normal(size=(4, 3)))}


def test_arrays_come_back_as_they_were(tmp_path):
  path, arrays = tmp_path / 'a.safetensors', _arrays()
  tensors.write(path, arrays)
  found = tensors.read(path)
  assert list(found) == list(arrays)
  for name, values in arrays.items():
    assert found[name].dtype == values.dtype
    assert found[name].shape == values.shape
    np.testing.assert_array_equal(found[name], values)


def test_the_file_is_what_the_format_says(tmp_path):
  path = tmp_path / 'a.safetensors'
  tensors.write(path, {'x': np.array([1.0, 2.0], '>f4')})
  data = path.read_bytes()
  length = int.from_bytes(data[:8], 'little')
  assert length % 8 == 0
  assert data[8 : 8 + length].rstrip(b' ') == (
    b'{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
  )
  assert np.frombuffer(data[8 + length :], '<f4').tolist() == [1.0, 2.0]


@pytest.mark.parametrize('lost', [1, 8, 200])
def test_a_file_that_is_not_whole_is_no_file(tmp_path, lost):
  path = tmp_path / 'a.safetensors'
  tensors.write(path, {'x': np.arange(9.0), 'y': np.arange(3)})
  path.write_bytes(path.read_bytes()[:-lost])
  with pytest.raises(ValueError, match='not whole'):
    tensors.read(path)
