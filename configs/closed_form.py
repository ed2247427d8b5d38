"""EASE and item-item nearest neighbors: solved in one step, without epochs.

    python launch/train.py --config=configs/closed_form.py --workdir=runs/ease

`--config=configs/closed_form.py:item_knn` are the neighbors. On the built-in
log in seconds; `--config.data.prepared=DIR` takes a log of one's own.
"""

from twotsrec import config as config_lib
from twotsrec import fields
from twotsrec.models import closed_form


def get_config(model: str = 'ease') -> config_lib.Config:
  """A model of `closed_form.NAMES` on the built-in log."""
  fields.refuse_unknown('model', model, closed_form.NAMES)
  config = config_lib.Config()
  config.data.dataset = 'synthetic'
  config.model.name = model
  return config
