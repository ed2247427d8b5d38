"""Checkpoints survive kills, damage and full disks, bit for bit."""

import logging
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from twotsrec import types
from twotsrec.training import checkpoints
from twotsrec.training import versions


class State(NamedTuple):
  params: Any
  opt_state: Any
  key: Any
  count: Any


class Killed(BaseException):
  """Stands for SIGKILL: no handler of errors sees it."""


def make_state(num_groups=3, seed=0):
  rng = np.random.default_rng(seed)
  return State(
    params={
      'table': jnp.asarray(rng.normal(size=(5, 4)), jnp.float32),
      'half': jnp.asarray(rng.normal(size=(3,)), jnp.bfloat16),
      'odd': jnp.array([np.nan, np.inf, -0.0, 1e-45], jnp.float32),
      'none': jnp.zeros((0, 4)),
    },
    opt_state=((), [jnp.ones((num_groups, 2)), None], ()),
    key=(jax.random.key(seed), jax.random.PRNGKey(seed)),
    count=np.int64(2**60 + seed) + np.zeros(2, np.int64),
  )


def assert_same_bits(actual, expected):
  assert jax.tree.structure(actual) == jax.tree.structure(expected)
  for a, e in zip(
    jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True
  ):
    assert a.dtype == e.dtype
    assert a.shape == e.shape
    if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
      a, e = jax.random.key_data(a), jax.random.key_data(e)
    assert np.asarray(a).tobytes() == np.asarray(e).tobytes()


def damage(path: pathlib.Path, name: str = 'state'):
  """Flips one bit in the largest file below `name`."""
  folder = path / name
  candidates = [folder] if folder.is_file() else list(folder.rglob('*'))
  file = max(candidates, key=lambda p: p.stat().st_size if p.is_file() else 0)
  content = bytearray(file.read_bytes())
  content[len(content) // 2] ^= 1
  file.write_bytes(content)


def test_every_dtype_and_container_comes_back_bit_exact(tmp_path):
  state = make_state()
  host = {'epoch': 3, 'best': 0.1 + 0.2, 'none': None, 'list': [1, 2]}
  path = checkpoints.save(tmp_path, 12, state, host)
  assert path == tmp_path / '12'
  restored = checkpoints.restore(tmp_path, make_state(seed=1))
  assert_same_bits(restored.state, state)
  assert (restored.host, restored.step) == (host, 12)
  assert isinstance(restored.state.count, np.ndarray)
  assert isinstance(restored.state.params['half'], jax.Array)


def test_shapes_suffice_as_template(tmp_path):
  state = make_state()._replace(count=jnp.int32(7))
  checkpoints.save(tmp_path, 1, state, {})
  shapes = jax.eval_shape(lambda: state)
  assert_same_bits(checkpoints.restore(tmp_path, shapes).state, state)


def test_restored_arrays_can_be_donated(tmp_path):
  state = {'w': jnp.arange(1024.0)}
  checkpoints.save(tmp_path, 1, state, {})
  restored = checkpoints.restore(tmp_path, state).state
  # A buffer that cannot be donated would warn, and warnings are errors.
  doubled = jax.jit(lambda s: {'w': s['w'] * 2}, donate_argnums=0)(restored)
  np.testing.assert_array_equal(doubled['w'], 2 * np.arange(1024.0))


def test_a_state_without_arrays_comes_back(tmp_path):
  checkpoints.save(tmp_path, 0, ((), None), {'a': 1})
  assert checkpoints.restore(tmp_path, ((), None)).host == {'a': 1}


@pytest.mark.parametrize('folder', ['absent', 'empty'])
def test_no_checkpoint_gives_none(tmp_path, folder):
  (tmp_path / 'empty').mkdir()
  assert checkpoints.restore(tmp_path / folder, make_state()) is None


def test_the_newest_are_kept(tmp_path):
  for step in (9, 10, 100):
    checkpoints.save(tmp_path, step, {'x': jnp.int32(step)}, {}, keep=2)
  assert checkpoints.steps(tmp_path) == [10, 100]
  template = {'x': jnp.int32(0)}
  assert checkpoints.restore(tmp_path, template).state['x'] == 100
  assert checkpoints.restore_step(tmp_path, template, 10).state['x'] == 10


def test_an_earlier_step_replaces_what_came_after(tmp_path):
  for step in (10, 20, 15):
    checkpoints.save(tmp_path, step, {'x': jnp.int32(step)}, {}, keep=2)
  assert checkpoints.steps(tmp_path) == [10, 15]


def test_saving_a_step_again_replaces_it(tmp_path):
  for value in (1, 2):
    checkpoints.save(tmp_path, 5, {'x': jnp.int32(value)}, {})
  assert checkpoints.restore(tmp_path, {'x': jnp.int32(0)}).state['x'] == 2
  assert os.listdir(tmp_path) == ['5']


def test_a_step_that_is_not_there_is_a_user_error(tmp_path):
  checkpoints.save(tmp_path, 5, {'x': jnp.int32(1)}, {})
  with pytest.raises(types.UserError, match=r'step 6 .* which has 5'):
    checkpoints.restore_step(tmp_path, {'x': jnp.int32(0)}, 6)


@pytest.mark.parametrize('name', ['state', 'host.json', 'manifest.json'])
def test_a_flipped_bit_is_noticed_and_the_one_before_used(
  tmp_path, caplog, name
):
  for step in (1, 2):
    checkpoints.save(tmp_path, step, {'x': jnp.arange(step)}, {'step': step})
  damage(tmp_path / '2', name)
  with caplog.at_level(logging.WARNING, 'twotsrec'):
    restored = checkpoints.restore(tmp_path, {'x': jnp.arange(1)})
  assert restored.step == 1
  assert str(tmp_path / '2') in caplog.text
  with pytest.raises(types.UserError, match='is damaged'):
    checkpoints.restore_step(tmp_path, {'x': jnp.arange(1)}, 2)


@pytest.mark.parametrize('name', ['host.json', 'manifest.json', 'state'])
def test_a_missing_file_is_noticed(tmp_path, caplog, name):
  for step in (1, 2):
    checkpoints.save(tmp_path, step, {'x': jnp.arange(3)}, {})
  lost = tmp_path / '2' / name
  shutil.rmtree(lost) if lost.is_dir() else lost.unlink()
  with caplog.at_level(logging.WARNING, 'twotsrec'):
    assert checkpoints.restore(tmp_path, {'x': jnp.arange(3)}).step == 1
  assert 'is damaged' in caplog.text


def test_only_damaged_checkpoints_are_a_user_error(tmp_path):
  for step in (1, 2):
    checkpoints.save(tmp_path, step, {'x': jnp.arange(3)}, {})
    damage(tmp_path / str(step))
  with pytest.raises(types.UserError, match=r'every .*\(steps 1, 2\)'):
    checkpoints.restore(tmp_path, {'x': jnp.arange(3)})


def test_another_group_count_names_the_leaf_and_both_shapes(tmp_path):
  checkpoints.save(tmp_path, 1, make_state(num_groups=3), {})
  with pytest.raises(types.UserError) as raised:
    checkpoints.restore(tmp_path, make_state(num_groups=5))
  message = str(raised.value)
  assert 'state.opt_state[1][0]' in message
  assert 'float32[3, 2] there' in message
  assert 'float32[5, 2] here' in message


@pytest.mark.parametrize(
  ('template', 'expected'),
  [
    ({'a': jnp.ones(2), 'b': jnp.ones(1)}, "state['b'] is absent there"),
    ({}, "state['a'] is float32[2] there and absent here"),
    ({'a': jnp.ones(2, jnp.bfloat16)}, 'bfloat16[2] here'),
  ],
)
def test_another_tree_or_dtype_is_a_user_error(tmp_path, template, expected):
  checkpoints.save(tmp_path, 1, {'a': jnp.ones(2)}, {})
  with pytest.raises(types.UserError) as raised:
    checkpoints.restore(tmp_path, template)
  assert expected in str(raised.value)


def test_a_leaf_that_is_no_array_is_a_programming_error(tmp_path):
  with pytest.raises(TypeError, match=r"state\['a'\] is int"):
    checkpoints.save(tmp_path, 1, {'a': 1}, {})


def test_nan_in_host_is_refused_before_anything_is_written(tmp_path):
  with pytest.raises(ValueError, match='JSON'):
    checkpoints.save(tmp_path / 'new', 1, {}, {'loss': float('nan')})
  assert not (tmp_path / 'new').exists()


def count_calls(monkeypatch, module, name, stop_at=None):
  """Counts calls of a function, or dies before one of them."""
  original, calls = getattr(module, name), []

  def counted(*args, **kwargs):
    if stop_at is not None and len(calls) == stop_at:
      raise Killed
    calls.append(args)
    return original(*args, **kwargs)

  monkeypatch.setattr(module, name, counted)
  return calls


POINTS = [
  (versions.os, 'rename'),
  (versions.shutil, 'rmtree'),
  (versions.files, 'fsync'),
  (versions, '_digest'),
  (checkpoints, '_write_arrays'),
]


@pytest.mark.parametrize('step', [2, 3])  # 2 replaces, 3 adds and prunes
@pytest.mark.parametrize(('module', 'name'), POINTS)
def test_killed_at_any_call_the_folder_holds_the_old_or_the_new(
  tmp_path, monkeypatch, module, name, step
):
  template = {'x': jnp.int32(0)}

  def prepare(folder):
    for old in (1, 2):
      checkpoints.save(folder, old, {'x': jnp.int32(old)}, {})

  prepare(tmp_path / 'count')
  with monkeypatch.context() as patch:
    calls = count_calls(patch, module, name)
    checkpoints.save(tmp_path / 'count', step, {'x': jnp.int32(77)}, {})
  # Before the first, the middle and the last call.
  for stop_at in {0, len(calls) // 2, len(calls) - 1} if calls else ():
    folder = tmp_path / f'at{stop_at}'
    prepare(folder)
    with monkeypatch.context() as patch:
      count_calls(patch, module, name, stop_at)
      with pytest.raises(Killed):
        checkpoints.save(folder, step, {'x': jnp.int32(77)}, {})
    restored = checkpoints.restore(folder, template)
    assert (restored.step, int(restored.state['x'])) in [(2, 2), (step, 77)]
    assert all(entry.isdecimal() for entry in os.listdir(folder))
    checkpoints.save(folder, 4, {'x': jnp.int32(4)}, {})
    assert checkpoints.restore(folder, template).step == 4


_SAVER = """
import sys
import jax.numpy as jnp
from twotsrec.training import checkpoints
for step in range(1, 10000):
  state = {'x': jnp.full((1000,), step), 'y': jnp.ones(step % 7 + 1)}
  checkpoints.save(sys.argv[1], step, state, {'step': step})
"""


def test_sigkill_leaves_a_checkpoint_that_can_be_read(tmp_path):
  process = subprocess.Popen(
    [sys.executable, '-c', _SAVER, str(tmp_path)], stderr=subprocess.DEVNULL
  )
  try:
    deadline = time.monotonic() + 60
    while not any(step > 3 for step in checkpoints.steps(tmp_path)):
      assert process.poll() is None
      assert time.monotonic() < deadline
      time.sleep(0.01)
  finally:
    process.send_signal(signal.SIGKILL)
    process.wait()
  newest = checkpoints.steps(tmp_path)[-1]
  template = {'x': jnp.zeros(1000, jnp.int32), 'y': jnp.ones(newest % 7 + 1)}
  restored = checkpoints.restore(tmp_path, template)
  assert restored.host['step'] == restored.step == newest
  np.testing.assert_array_equal(restored.state['x'], newest)
  assert all(entry.isdecimal() for entry in os.listdir(tmp_path))


def test_a_step_replaced_by_a_killed_process_is_found_by_name(tmp_path):
  checkpoints.save(tmp_path, 5, {'x': jnp.int32(1)}, {})
  os.rename(tmp_path / '5', tmp_path / '.replaced-5')
  template = {'x': jnp.int32(0)}
  assert checkpoints.restore_step(tmp_path, template, 5).state['x'] == 1


def test_a_reader_leaves_alone_what_a_writer_is_writing(tmp_path):
  checkpoints.save(tmp_path, 1, {'x': jnp.int32(1)}, {})
  with versions._locked(tmp_path, wait=True):
    (tmp_path / '.tmp-2').mkdir()
    assert checkpoints.restore(tmp_path, {'x': jnp.int32(0)}).step == 1
    assert (tmp_path / '.tmp-2').exists()
  checkpoints.restore(tmp_path, {'x': jnp.int32(0)})
  assert not (tmp_path / '.tmp-2').exists()


def test_a_file_in_place_of_the_folder_is_a_user_error(tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(types.UserError, match='cannot write .*file'):
    checkpoints.save(tmp_path / 'file' / 'latest', 1, {}, {})


def test_a_full_disk_is_a_user_error_and_keeps_the_old(tmp_path):
  resource = pytest.importorskip('resource')
  checkpoints.save(tmp_path, 1, {'x': jnp.ones(3)}, {})
  noise = np.random.default_rng(0).normal(size=100_000)
  soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
  # A limit on the size of files fails inside of tensorstore as a full disk
  # does; Python ignores the signal that comes with it.
  resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
  try:
    with pytest.raises(types.UserError) as raised:
      checkpoints.save(tmp_path, 2, {'x': noise}, {})
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
  assert 'File too large' in str(raised.value)
  assert str(tmp_path) in str(raised.value)
  assert os.listdir(tmp_path) == ['1']


def test_errors_of_the_disk_are_named(tmp_path, monkeypatch):
  def full(*args, **kwargs):
    raise OSError(28, os.strerror(28), str(tmp_path / 'x'))

  monkeypatch.setattr(versions.os, 'rename', full)
  with pytest.raises(types.UserError, match='No space left .* free some'):
    checkpoints.save(tmp_path, 1, {}, {})


def test_saving_is_silent(tmp_path, capfd, caplog):
  with caplog.at_level(logging.INFO, 'absl'):  # as in launch scripts
    checkpoints.save(tmp_path, 1, {'x': jnp.ones(3)}, {})
    checkpoints.restore(tmp_path, {'x': jnp.ones(3)})
  assert capfd.readouterr() == ('', '')
  assert not caplog.records


def test_numpy_bfloat16_stays_numpy(tmp_path):
  state = {'x': np.ones(3, ml_dtypes.bfloat16)}
  checkpoints.save(tmp_path, 1, state, {})
  restored = checkpoints.restore(tmp_path, state).state
  assert isinstance(restored['x'], np.ndarray)
  assert_same_bits(restored, state)
