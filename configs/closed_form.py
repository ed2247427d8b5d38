"""Models that are counted or solved for in one step, without epochs.

    python launch/train.py --config=configs/closed_form.py --workdir=runs/ease

After a colon stands the model, `--config=configs/closed_form.py:item_knn`: ease
and item_knn for any log; for data with behaviors cascading_rank, and
pair_experts, which with `--config.discovery.by=average` gives what is new to a
user a share of the places. On built-in logs in seconds;
`--config.data.prepared=DIR` takes a log of one's own.
"""

from twotsrec import config as config_lib
from twotsrec import fields
from twotsrec.data import settings
from twotsrec.models import closed_form


def get_config(model: str = 'ease') -> config_lib.Config:
  """A model without training on the built-in log it is for."""
  fields.refuse_unknown('model', model, config_lib.FITTED)
  config = config_lib.Config()
  plain = model in closed_form.NAMES
  config.data.dataset = 'synthetic' if plain else settings.SYNTHETIC_BEHAVIORS
  config.model.name = model
  return config
