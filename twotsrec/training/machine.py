"""What a run took and on what: memory and versions, for the report."""

import importlib.metadata
import platform
import sys

import jax

try:
  import resource
except ImportError:  # Windows
  resource = None

_PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'numpy')


def peak_rss_mb() -> float | None:
  """The most memory this process has held, in MB; None where not told."""
  if resource is None:
    return None
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  return round(peak / (1e6 if sys.platform == 'darwin' else 1e3), 1)


def versions() -> dict[str, str]:
  """Versions of Python, of the packages that compute, and the device."""
  found = {name: importlib.metadata.version(name) for name in _PACKAGES}
  return {
    'python': platform.python_version(),
    **found,
    'backend': jax.default_backend(),
    'device': jax.devices()[0].device_kind,
  }
