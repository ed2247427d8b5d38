"""Refuses settings that cannot work, before anything is read or written."""

from twotsrec import config as config_lib
from twotsrec import models
from twotsrec.recipes import two_time_jobs as jobs_lib
from twotsrec.runs import settings


def check(config: config_lib.Config) -> None:
  """Refuses values, and combinations that would train something else.

  Raises:
    types.UserError: the value, what is allowed and the way out.
  """
  if config.model.name == models.TWO_TIME:
    settings.two_time_scale(config, jobs_lib.parts(config.two_time.variant))
  elif config.model.name == models.MULTI_BEHAVIOR:
    settings.multi_behavior(config)
  else:
    settings.sequence(config)
