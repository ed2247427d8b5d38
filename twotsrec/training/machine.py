"""Memory and versions of a process, for the report."""

import importlib.metadata
import pathlib
import platform
import sys

import jax

import twotsrec

try:
  import resource
except ImportError:  # Windows
  resource = None

_PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'numpy')


def peak_rss_mb() -> float | None:
  """The most memory this process has held, in MB; None on Windows."""
  if resource is None:
    return None
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  unit = 1 if sys.platform == 'darwin' else 1024  # bytes
  return round(peak * unit / 1e6, 1)


def free_bytes() -> int | None:
  """Memory that the device of the program has left; None where it is unknown.

  That of an accelerator by its own count; of a CPU what the machine has
  available, or a container may have.
  """
  device = jax.devices()[0]
  if device.platform != 'cpu':
    stats = device.memory_stats() or {}
    limit = stats.get('bytes_limit')
    return limit and limit - stats.get('bytes_in_use', 0)
  try:
    lines = pathlib.Path('/proc/meminfo').read_text('ascii').splitlines()
  except OSError:  # not Linux
    return None
  named = dict(line.split(':', 1) for line in lines)
  free = int(named['MemAvailable'].split()[0]) * 1024
  return min(free, _limit_of_group() or free)


def _limit_of_group():
  """Bytes that a container may have, by version 2 of control groups."""
  try:
    most = pathlib.Path('/sys/fs/cgroup/memory.max').read_text('ascii').strip()
  except OSError:
    return None
  return int(most) if most.isdigit() else None


def versions() -> dict[str, str]:
  """Versions of this package, of Python and what computes, and the device."""
  return {
    'twotsrec': twotsrec.__version__,
    'python': platform.python_version(),
    **{name: importlib.metadata.version(name) for name in _PACKAGES},
    'backend': jax.default_backend(),
    'device': jax.devices()[0].device_kind,
  }
