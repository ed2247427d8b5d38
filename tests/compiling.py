"""Less time for the compiler, where tests train the same small programs."""

from collections.abc import Iterator
import contextlib
import os

import jax
from jax.experimental.compilation_cache import compilation_cache

from twotsrec.training import compilation

# Programs run once or twice on a few rows: compiling them is what takes time.
_QUICK = {'jax_disable_most_optimizations': True}


@contextlib.contextmanager
def once(folder) -> Iterator[None]:
  """Compiles every program once, without most of the optimizations.

  Commands that tests start do so too, in the same folder.

  Args:
    folder: where compiled programs are; several processes may share it.
  """
  environment = {name.upper(): '1' for name in _QUICK}
  environment[compilation.VARIABLE] = str(folder)
  os.environ.update(environment)
  for name, value in _QUICK.items():
    jax.config.update(name, value)
  compilation.keep(str(folder))
  compilation_cache.reset_cache()  # it reads the folder's name once
  try:
    yield
  finally:
    for name in environment:
      del os.environ[name]
