"""Sequence models by name."""

from twotsrec import config
from twotsrec import fields
from twotsrec import own
from twotsrec import types
from twotsrec.models import bert4rec
from twotsrec.models import dien
from twotsrec.models import din
from twotsrec.models import din_original
from twotsrec.models import gru4rec
from twotsrec.models import gru4rec_tower
from twotsrec.models import hstu
from twotsrec.models import ligr
from twotsrec.models import mimn
from twotsrec.models import popularity
from twotsrec.models import sasrec
from twotsrec.models import sasrec_original
from twotsrec.models import sum_pooling

_MAKERS = {
  'popularity': popularity.make,
  'din': din.make,
  'din_original': din_original.make,
  'gru4rec': gru4rec.make,
  'sasrec': sasrec.make,
  'sasrec_original': sasrec_original.make,
  'gru4rec_product': gru4rec.make_product,
  'bert4rec': bert4rec.make,
  'hstu': hstu.make,
  'ligr': ligr.make,
  'sum_pooling': sum_pooling.make,
  'gru4rec_tower': gru4rec_tower.make,
  'dien': dien.make,
  'mimn': mimn.make,
}

# Options a model takes besides name, width and compute_dtype.
OPTIONS = {
  'popularity': (),
  'din': ('hidden',),
  'din_original': ('attention_norm',),
  'gru4rec': (),
  'sasrec': ('num_layers', 'num_heads', 'causal', 'authors_quirk'),
  'sasrec_original': ('num_layers', 'num_heads', 'dropout'),
  'gru4rec_product': ('num_layers', 'dropout'),
  'bert4rec': ('num_layers', 'num_heads', 'dropout'),
  'hstu': ('num_layers', 'num_heads', 'dropout'),
  'ligr': ('num_layers', 'num_heads', 'dropout'),
  'sum_pooling': (),
  'gru4rec_tower': (),
  'dien': ('augru', 'auxiliary_weight'),
  'mimn': ('memory_slots', 'auxiliary_weight'),
}

# Trained as a whole on graphs; see multi_behavior.py.
MULTI_BEHAVIOR = 'multi_behavior'
# Trained in stages; see two_rnn.py and serving/two_time_ranker.py.
TWO_TIME = 'two_time_scale'
# Trained on a log in order of time; see jodie.py and recipes/jodie.py.
JODIE = 'jodie'
# Trained on a graph that grows; see dyn_aernn.py and recipes/dyn_aernn.py.
DYN_AERNN = 'dyn_aernn'
NAMES = tuple(_MAKERS)
TRAINED = tuple(name for name in NAMES if name != 'popularity')


def make(options: config.ModelConfig) -> types.Model:
  """The model that a configuration names.

  Raises:
    types.UserError: an unknown name, a value that a setting cannot have, or an
      option that the model does not have.
  """
  fields.refuse_section(options, 'model')
  if options.name in OPTIONS:
    taken = ('width', 'compute_dtype', *OPTIONS[options.name])
    fields.refuse_options(options, 'model', taken)
  return own.part(options.name, 'model.name', types.Model, _MAKERS, options)


def is_popularity(params: types.Params) -> bool:
  """Whether these are counts of items, as `popularity` keeps them."""
  return 'popularity' in params.tables['item']
