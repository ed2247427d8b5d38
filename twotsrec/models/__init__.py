"""Sequence models by name."""

import dataclasses

from twotsrec import config
from twotsrec import fields
from twotsrec import own
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

# Options a model takes besides name, width and compute_dtype.
OPTIONS = {
  'popularity': (),
  'din': ('hidden',),
  'din_original': ('attention_norm',),
  'gru4rec': (),
  'sasrec': ('num_layers', 'num_heads', 'causal', 'authors_quirk'),
  'sasrec_original': ('num_layers', 'num_heads', 'dropout'),
}

# Trained as a whole on graphs; see multi_behavior.py.
MULTI_BEHAVIOR = 'multi_behavior'
# Trained in stages; see two_rnn.py and serving/two_time_ranker.py.
TWO_TIME = 'two_time_scale'
NAMES = tuple(_MAKERS)
TRAINED = tuple(name for name in NAMES if name != 'popularity')
_DTYPES = ('float32', 'bfloat16')


def make(options: config.ModelConfig) -> types.Model:
  """The model that a configuration names.

  Raises:
    types.UserError: an unknown name or dtype, or an option that the model does
      not have: it would change nothing.
  """
  if fields.is_own(options.name):
    return own.make(options.name, 'model.name', types.Model, options)
  if options.name not in _MAKERS:
    raise types.UserError(
      f'model.name is {options.name!r}; known models:'
      f' {", ".join((*TRAINED, MULTI_BEHAVIOR, TWO_TIME))}'
    )
  if options.compute_dtype not in _DTYPES:
    raise types.UserError(
      f'model.compute_dtype is {options.compute_dtype!r}; '
      f'it must be one of {", ".join(_DTYPES)}'
    )
  check_options(options, ('width', 'compute_dtype', *OPTIONS[options.name]))
  return _MAKERS[options.name](options)


def check_options(options: config.ModelConfig, taken: tuple[str, ...]) -> None:
  """Refuses options that would change nothing.

  Raises:
    types.UserError: an option besides the name and those in `taken`.
  """
  for field in dataclasses.fields(options):
    value = getattr(options, field.name)
    if field.name not in ('name', *taken) and value != field.default:
      raise types.UserError(
        f'model.{field.name} is {value}, but {options.name} has no such'
        f' option; it takes {", ".join(taken)}'
      )
