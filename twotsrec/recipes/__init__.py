"""Recipes: ways from data to something that ranks, by the model's name.

`RECIPES` is the only place where the name of a model decides what happens. A
recipe is imported when it is asked for.
"""

import importlib

from twotsrec import config as config_lib
from twotsrec import contracts
from twotsrec import fields
from twotsrec import own
from twotsrec import types

# Module of the recipe, by the name of a model.
RECIPES = {
  'din': 'sequence',
  'din_original': 'sequence',
  'gru4rec': 'sequence',
  'sasrec': 'sequence',
  'sasrec_original': 'sequence',
  'gru4rec_product': 'sequence',
  'bert4rec': 'sequence',
  'hstu': 'sequence',
  'ligr': 'sequence',
  'sum_pooling': 'sequence',
  'gru4rec_tower': 'sequence',
  'dien': 'sequence',
  'mimn': 'sequence',
  'ease': 'closed_form',
  'item_knn': 'closed_form',
  'cascading_rank': 'cascading_rank',
  'pair_experts': 'pair_experts',
  'multi_behavior': 'multi_behavior',
  'two_time_scale': 'two_time.recipe',
  'jodie': 'jodie',
  'dyn_aernn': 'dyn_aernn',
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
    types.UserError: an unknown model; the message lists those there are.
  """
  name = config.model.name
  if name == 'popularity':
    raise types.UserError(
      "model.name 'popularity' has nothing to train, and every report shows it"
      ' beside the model; choose another'
    )
  if fields.is_own(name):
    part = own.load(name, 'model.name')
    return part if isinstance(part, contracts.Recipe) else _load('sequence')
  if name not in RECIPES:
    raise types.UserError(
      f'model.name is {name!r}; known models: {", ".join(RECIPES)}, or one of'
      ' your own as my_file.py:make'
    )
  return _load(RECIPES[name])


def _load(module) -> contracts.Recipe:
  return importlib.import_module(f'twotsrec.recipes.{module}').RECIPE
