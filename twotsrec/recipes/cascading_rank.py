"""CascadingRank, a walk through the graphs of all behaviors."""

from twotsrec import fields
from twotsrec.evaluation import fitted
from twotsrec.models import cascading_rank
from twotsrec.recipes import of_behaviors

RECIPE = of_behaviors.recipe(
  of_behaviors.Kind(
    reads=(fields.Reads('cascade.*'),),
    check=lambda config: cascading_rank.check(config.cascade),
    count=fitted.of_cascade,
    ranker=lambda experiment, counted, params: counted,  # nothing to fit
  )
)
