"""Less time for the compiler, where tests train the same small programs."""

from collections.abc import Callable, Iterator
import contextlib
import dataclasses
import functools
import os
from unittest import mock

import jax
from jax.experimental.compilation_cache import compilation_cache
import jaxlib

from twotsrec import models
from twotsrec import plugins
from twotsrec.evaluation import online_states
from twotsrec.models import multi_behavior
from twotsrec.models import two_rnn
from twotsrec.ops import recurrence
from twotsrec.plugins import plugged
from twotsrec.plugins import recurrent
from twotsrec.serving import online_steps
from twotsrec.serving import two_time_ranker
from twotsrec.training import compilation

# Programs run once or twice on a few rows: compiling them is what takes time.
_QUICK = {'jax_disable_most_optimizations': True}
_VARIABLE = 'XLA_FLAGS'
# Emitters of fusions take most of the time in jaxlib 0.10; last bits differ.
_FUSIONS = '--xla_cpu_use_fusion_emitters=false'
# Otherwise a program is compiled in 32 parts; the bits are the same.
_SPLIT = '--xla_cpu_parallel_codegen_split_count=1'
# Their results are functions that programs are traced and compiled for.
_MAKERS = (
  (models, 'make'),
  (plugins, 'make'),
  (plugged, 'plugged'),
  (multi_behavior, 'make'),
  (two_rnn, 'make_stages'),
  (recurrent, 'make_bind'),
  (two_time_ranker, 'make'),
  (online_states, 'make_walk'),
  (online_states, 'make_read'),
  (online_steps, 'make_advance'),
  (online_steps, 'make_read'),
)


def quickly() -> None:
  """Sets the compiler's flags, before it compiles first; may be called again.

  Commands that tests start inherit them. Flags that are set already win.
  """
  ours = _flags(jaxlib.__version__)
  os.environ[_VARIABLE] = ' '.join([*ours, *_without(ours)])


def to_the_bit() -> dict[str, str]:
  """The environment of a command whose results are as without `quickly`."""
  return {**os.environ, _VARIABLE: ' '.join(_without([_FUSIONS]))}


def _flags(version: str) -> list[str]:
  """Those that a version of jaxlib knows: it ends at one that it does not."""
  release = tuple(map(int, version.split('.')[:2]))
  flags = [_FUSIONS] if release < (0, 11) else []
  return [*flags, _SPLIT] if release < (0, 13) else flags


def _without(flags) -> list[str]:
  """What the environment has besides."""
  return [x for x in os.environ.get(_VARIABLE, '').split() if x not in flags]


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


@contextlib.contextmanager
def optimized() -> Iterator[None]:
  """For programs that run long: compiled with all optimizations."""
  for name, value in _QUICK.items():
    jax.config.update(name, not value)
  try:
    yield
  finally:
    for name, value in _QUICK.items():
      jax.config.update(name, value)


@contextlib.contextmanager
def one_of_a_kind() -> Iterator[None]:
  """Models of equal settings are one object, so that programs are shared.

  Otherwise a run that is loaded once more traces its programs once more.
  """
  with contextlib.ExitStack() as stack:
    for module, name in _MAKERS:
      once_made = _remembered(getattr(module, name))
      stack.enter_context(mock.patch.object(module, name, once_made))
    yield


def _remembered(make: Callable) -> Callable:
  """`make`, which returns what it has made of equal arguments."""
  made = {}

  @functools.wraps(make)
  def once_made(*arguments, **keywords):
    parts = [*arguments, *keywords, *keywords.values()]
    key = (recurrence.scan, *map(_key, parts))
    if '.py:' in repr(key):  # a file, which may change
      return make(*arguments, **keywords)
    if key not in made:
      made[key] = make(*arguments, **keywords)
    return made[key]

  return once_made


def _key(argument):
  """Settings by their values, functions by themselves."""
  return repr(argument) if dataclasses.is_dataclass(argument) else argument
