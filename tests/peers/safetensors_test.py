"""Weights of an export beside the package whose format they have."""

import numpy as np
import pytest

from twotsrec.serving import tensors

peer = pytest.importorskip('safetensors.numpy')


def _arrays():
  rng = np.random.default_rng(0)
  made = {
    f'{name}.a': np.ones((2, 3), name) for name in ('i4', 'i8', '?', 'u1')
  }
  made['b'] = rng.normal(size=(4, 5)).astype('f4')
  return made | {'c': rng.normal(size=7), 'none': np.zeros((0, 2), 'f4')}


def test_the_package_reads_what_is_written(tmp_path):
  path = tmp_path / 'a.safetensors'
  tensors.write(path, _arrays())
  _same(peer.load_file(path))


def test_what_the_package_writes_is_read(tmp_path):
  path = tmp_path / 'a.safetensors'
  peer.save_file(_arrays(), path)
  _same(tensors.read(path))


def _same(found):
  assert set(found) == set(_arrays())
  for name, values in _arrays().items():
    assert found[name].dtype == values.dtype
    np.testing.assert_array_equal(found[name], values)
    assert found[name].shape == values.shape
