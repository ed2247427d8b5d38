"""A pair of experts, for what a user has touched and for what is new."""

from twotsrec import fields
from twotsrec.evaluation import fitted
from twotsrec.recipes import of_behaviors

RECIPE = of_behaviors.recipe(
  of_behaviors.Kind(
    reads=(fields.Reads('closed_form.neighbors closed_form.shrinkage'),),
    check=lambda config: None,
    count=fitted.count,
    ranker=fitted.of_experts,
  )
)
