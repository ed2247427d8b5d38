"""Memory and versions of a process, for the report."""

import importlib.metadata
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


def versions() -> dict[str, str]:
  """Versions of this package, of Python and what computes, and the device."""
  return {
    'twotsrec': twotsrec.__version__,
    'python': platform.python_version(),
    **{name: importlib.metadata.version(name) for name in _PACKAGES},
    'backend': jax.default_backend(),
    'device': jax.devices()[0].device_kind,
  }
