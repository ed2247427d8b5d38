"""Held-out items of a log ranked by a scorer, as a run ranks them."""

from twotsrec import config
from twotsrec import contracts
from twotsrec.data import prepared
from twotsrec.evaluation import offline


def rank(ranker, data, groups, split, evaluation):
  """(part of the report, arrays by held-out item)."""
  options = config.Config(evaluation=evaluation)
  experiment = contracts.Experiment(options, data, groups)
  part, rows, *_ = offline.rank(experiment, ranker, prepared.SPLITS[split])
  return part, rows


def protocol(data, split, evaluation):
  options = config.Config(evaluation=evaluation)
  experiment = contracts.Experiment(options, data, groups=None)
  return offline.protocol(experiment, prepared.SPLITS[split])
