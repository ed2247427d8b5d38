"""Programs on disk save compiling, change no bit, and do no harm if damaged."""

import os
import pathlib
import subprocess
import sys
import time
from typing import NamedTuple
import zlib

import pytest

from twotsrec import types
from twotsrec.training import compilation

ROOT = pathlib.Path(__file__).resolve().parents[2]
_PROGRAM = """
import collections, hashlib
import jax
import numpy as np
from twotsrec.training import compilation

compilation.keep()
events = collections.Counter()
jax.monitoring.register_event_listener(lambda name, **_: events.update([name]))

def loss(weights, inputs):
  step = lambda state, x: (np.float32(1) / (1 + state @ weights + x), state)
  return jax.lax.scan(step, inputs[0], inputs)[1].sum()

inputs = np.random.default_rng(0).random((5, 3, 4), np.float32)
gradient = jax.jit(jax.grad(loss))(inputs[0, :1].T @ inputs[0, :1], inputs)
print(hashlib.sha256(np.asarray(gradient).tobytes()).hexdigest())
print(events['/jax/compilation_cache/cache_hits'])
print(events['/jax/compilation_cache/cache_misses'])
"""


class Ended(NamedTuple):
  """What a process with a compiled program left."""

  bits: str
  read: int
  written: int
  errors: str


def run(asked: str) -> Ended:
  """Computes a gradient in a process of its own."""
  environment = {
    name: value for name, value in os.environ.items() if name[:3] != 'JAX'
  }
  environment |= {'PYTHONPATH': str(ROOT), compilation.VARIABLE: asked}
  done = subprocess.run(
    [sys.executable, '-c', _PROGRAM],
    capture_output=True,
    text=True,
    env=environment,
    check=True,
  )
  bits, read, written = done.stdout.split()
  return Ended(bits, int(read), int(written), done.stderr)


def test_a_second_process_compiles_nothing_and_gets_the_same_bits(tmp_path):
  fresh = run(compilation.OFF)
  first, second = run(str(tmp_path)), run(str(tmp_path))
  assert fresh.read == fresh.written == first.read == 0
  assert first.written > 0
  assert (second.read, second.written) == (first.written, 0)
  assert fresh.bits == first.bits == second.bits
  assert fresh.errors == first.errors == second.errors == ''

  # Half of every file is missing, as after a kill: compiled again, in silence.
  for path in tmp_path.glob('*-cache'):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
  damaged = run(str(tmp_path))
  assert (damaged.bits, damaged.read, damaged.errors) == (first.bits, 0, '')

  # A while later nobody can be writing them: they are made anew.
  for path in tmp_path.iterdir():
    _make_older(path, 3600)
  repaired, last = run(str(tmp_path)), run(str(tmp_path))
  assert (repaired.read, repaired.written) == (0, first.written)
  assert (last.read, last.bits) == (first.written, first.bits)


def _make_older(path, seconds):
  then = path.stat().st_mtime - seconds
  os.utime(path, (then, then))


def write(folder, name, content, age):
  path = folder / f'{name}-cache'
  path.write_bytes(content)
  _make_older(path, age)
  return path


def test_unfinished_programs_are_deleted_once_nobody_writes_them(tmp_path):
  whole = zlib.compress(os.urandom(1000))
  half = whole[:500]
  write(tmp_path, 'whole', whole, 3600)
  write(tmp_path, 'half', half, 3600)
  write(tmp_path, 'empty', b'', 3600)
  write(tmp_path, 'being_written', half, 0)
  write(tmp_path, 'of_another_compressor', b'\x28\xb5\x2f\xfd', 3600)
  (tmp_path / 'a_file_of_somebody_else').write_bytes(half)
  compilation.tidy(tmp_path)
  assert {path.name for path in tmp_path.iterdir()} == {
    'whole-cache', 'being_written-cache', 'of_another_compressor-cache',
    'a_file_of_somebody_else', 'checked',
  }  # fmt: skip
  # What was too young is looked at next time.
  for path in tmp_path.iterdir():
    _make_older(path, 3600)
  compilation.tidy(tmp_path)
  assert not (tmp_path / 'being_written-cache').exists()


def test_the_programs_used_last_stay_within_the_bound(tmp_path):
  paths = [
    write(tmp_path, str(age), zlib.compress(os.urandom(1000)), age)
    for age in (400, 300, 200, 100)
  ]
  size = paths[0].stat().st_size
  now = time.time()
  os.utime(
    paths[0], (now, paths[0].stat().st_mtime)
  )  # written first, read last
  compilation.tidy(tmp_path, most_bytes=2 * size + 10)
  assert [path.exists() for path in paths] == [True, False, False, True]


def test_the_folder_is_in_the_cache_folder_of_the_user():
  at = compilation.default_folder({'XDG_CACHE_HOME': '/somewhere'})
  assert at == pathlib.Path('/somewhere/twotsrec/compiled')
  assert compilation.default_folder({}).is_relative_to(pathlib.Path.home())


def test_a_folder_that_cannot_be_written_is_an_error_if_it_was_asked_for(
  tmp_path,
):
  (tmp_path / 'file').touch()
  asked = str(tmp_path / 'file' / 'folder')
  with pytest.raises(types.UserError, match='name a folder that can be writt'):
    compilation.keep(asked)
  with pytest.raises(types.UserError, match='or off'):
    compilation.keep(environment={compilation.VARIABLE: asked})
