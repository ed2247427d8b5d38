"""Less time for the compiler, where tests train the same small programs."""

from collections.abc import Iterator
import contextlib
import os
import pathlib

import jax
from jax._src import lru_cache
from jax.experimental.compilation_cache import compilation_cache


@contextlib.contextmanager
def once(folder) -> Iterator[None]:
  """Compiles every program once, without most of the optimizations.

  Args:
    folder: where compiled programs are kept; several processes may share it.
  """
  lru_cache.LRUCache.put = _put
  options = {
    'jax_disable_most_optimizations': True,
    'jax_compilation_cache_dir': str(folder),
    'jax_persistent_cache_min_compile_time_secs': 0.0,
    'jax_persistent_cache_min_entry_size_bytes': -1,
  }
  before = {name: _value(name) for name in options}
  try:
    _update(options)
    yield
  finally:
    _update(before)


def _value(name):
  # Some options are attributes, the others are read by name.
  known = hasattr(jax.config, name)
  return getattr(jax.config, name) if known else jax.config.read(name)


def _update(options):
  for name, value in options.items():
    jax.config.update(name, value)
  compilation_cache.reset_cache()  # it reads the folder's name once


def _put(cache, key, value):
  """Writes an entry under a name of its own: nobody reads half of it."""
  path = pathlib.Path(cache.path) / f'{key}-cache'
  if not path.exists():
    unfinished = path.with_name(f'{path.name}.{os.getpid()}')
    unfinished.write_bytes(value)
    os.replace(unfinished, path)
