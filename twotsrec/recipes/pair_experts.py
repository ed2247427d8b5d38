"""A pair of experts, for what a user has touched and for what is new."""

from twotsrec import fields
from twotsrec.evaluation import fitted
from twotsrec.recipes import untrained


def _count(experiment):
  untrained.refuse(experiment)
  return fitted.count(experiment)


RECIPE = untrained.recipe(
  untrained.Kind(
    reads=(
      *untrained.OF_BEHAVIORS,
      fields.Reads('closed_form.neighbors closed_form.shrinkage'),
    ),
    ranker=fitted.of_experts,
    count=_count,
  )
)
