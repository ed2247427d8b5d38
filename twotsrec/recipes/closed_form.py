"""EASE and item-item nearest neighbors, solved for all pairs of items."""

from twotsrec import fields
from twotsrec.evaluation import fitted
from twotsrec.recipes import untrained
from twotsrec.training import settings


def _ranker(experiment, counted, params):
  del counted
  return fitted.ranker(experiment, experiment.config.model.name, params)


RECIPE = untrained.recipe(
  untrained.Kind(
    reads=(
      fields.Reads('data.*', but='data.history_length data.num_negatives'),
      fields.Reads('groups.* model.name closed_form.*'),
      *settings.OFFLINE_OR_ONLINE,
    ),
    ranker=_ranker,
  )
)
