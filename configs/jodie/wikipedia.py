r"""JODIE on wikipedia-timed, split 80/10/10 by time as in its paper.

    python launch/train.py --config=configs/jodie/wikipedia.py \
      --data_root=DIR --workdir=runs/jodie_wikipedia

`--config=configs/jodie/wikipedia.py:two_time` has the form that 2TS compares
with: learned static vectors and a triplet loss. Another log with times is
`--config.data.prepared=DIR`.
"""

from twotsrec import config as config_lib
from twotsrec import fields

# One-hot static vectors and a squared error, as published; or 2TS App. B.
FORMS = {
  'published': {},
  'two_time': {'jodie.static': 'learned', 'jodie.loss': 'triplet'},
}


def get_config(form: str = 'published') -> config_lib.Config:
  """The settings of a form."""
  fields.refuse_unknown('form', form, FORMS)
  config = config_lib.Config()
  changes = {
    'data.dataset': 'wikipedia-timed',
    'data.split': 'global_time',
    'data.shares': (0.8, 0.1, 0.1),
    'model.name': 'jodie',
    'model.width': 128,
    'train.epochs': 50,
    'train.patience': 5,
  }
  config_lib.change(config, {**changes, **FORMS[form]})
  return config
