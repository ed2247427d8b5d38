"""Sequence models by name."""

from twotsrec import config
from twotsrec import types
from twotsrec.models import din
from twotsrec.models import din_original
from twotsrec.models import gru4rec
from twotsrec.models import popularity
from twotsrec.models import sasrec
from twotsrec.models import sasrec_original

_MAKERS = {
  'popularity': popularity.make,
  'din': din.make,
  'din_original': din_original.make,
  'gru4rec': gru4rec.make,
  'sasrec': sasrec.make,
  'sasrec_original': sasrec_original.make,
}

NAMES = tuple(_MAKERS)
_DTYPES = ('float32', 'bfloat16')


def make(options: config.ModelConfig) -> types.Model:
  """The model that a configuration names."""
  if options.name not in _MAKERS:
    raise types.UserError(
      f'model.name is {options.name!r}; known models: {", ".join(NAMES)}'
    )
  if options.compute_dtype not in _DTYPES:
    raise types.UserError(
      f'model.compute_dtype is {options.compute_dtype!r}; '
      f'it must be one of {", ".join(_DTYPES)}'
    )
  return _MAKERS[options.name](options)
