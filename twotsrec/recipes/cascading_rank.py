"""CascadingRank, a walk through the graphs of all behaviors."""

from twotsrec import fields
from twotsrec.evaluation import fitted
from twotsrec.models import cascading_rank
from twotsrec.recipes import untrained


def _count(experiment):
  untrained.refuse(experiment)
  return fitted.of_cascade(experiment)


RECIPE = untrained.recipe(
  untrained.Kind(
    reads=(*untrained.OF_BEHAVIORS, fields.Reads('cascade.*')),
    ranker=lambda experiment, counted, params: counted,  # nothing to fit
    count=_count,
    check=lambda config: cascading_rank.check(config.cascade),
  )
)
