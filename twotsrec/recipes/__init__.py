"""Recipes: ways from data to something that ranks, by the model's name.

`RECIPES` is the only place where the name of a model decides what happens.
"""

from twotsrec import config as config_lib
from twotsrec import contracts
from twotsrec import fields
from twotsrec import models
from twotsrec import own
from twotsrec import types
from twotsrec.models import closed_form as closed_form_models
from twotsrec.recipes import closed_form
from twotsrec.recipes import multi_behavior
from twotsrec.recipes import sequence
from twotsrec.recipes.two_time import recipe as two_time

RECIPES = {
  **{name: sequence.RECIPE for name in models.TRAINED},
  **{name: closed_form.RECIPE for name in closed_form_models.NAMES},
  models.MULTI_BEHAVIOR: multi_behavior.RECIPE,
  models.TWO_TIME: two_time.RECIPE,
}


def check(config: config_lib.Config) -> None:
  """Refuses settings that cannot work, before anything is read or written.

  Raises:
    types.UserError: the value, what is allowed and the way out.
  """
  of(config).check(config)


def of(config: config_lib.Config) -> contracts.Recipe:
  """The recipe of a configuration.

  Raises:
    types.UserError: an unknown model; the message lists the known ones.
  """
  name = config.model.name
  if name == 'popularity':
    raise types.UserError(
      "model.name 'popularity' has nothing to train; every report shows it"
      ' beside the model'
    )
  if fields.is_own(name):
    part = own.load(name, 'model.name')
    return part if isinstance(part, contracts.Recipe) else sequence.RECIPE
  if name not in RECIPES:
    raise types.UserError(
      f'model.name is {name!r}; known models: {", ".join(RECIPES)}, or one of'
      ' your own as my_file.py:make'
    )
  return RECIPES[name]
