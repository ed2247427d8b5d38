"""Recommendations of a finished run beside what its model scores highest."""

import csv
import functools

import jax
import jax.numpy as jnp
import numpy as np

from tests import finished
from twotsrec.ops import rows
from twotsrec.runs import experiment as experiment_lib
from twotsrec.runs import recommend

K = 4


@functools.cache
def loaded():
  return experiment_lib.load(str(finished.run()))


@functools.cache
def scorer():
  """history i32[L] -> scores of items 1..I, all at once."""
  experiment, params = loaded()
  model, context = experiment.system.model, experiment.system.context

  @jax.jit
  def score(history):
    table = params.tables['item']
    inputs = {'history': history[None]}
    history_rows = rows.gather(table, history[None])
    encoded = model.encode(params.net, history_rows, context, inputs)
    items = jnp.arange(1, experiment.prepared.num_items + 1)
    return model.score(params.net, encoded, rows.gather(table, items))[0]

  return score


def expected(own, k=K, exclude_seen=True, sign=1):
  """Items of a user with the history `own`, best first, or worst if -1."""
  length = loaded()[0].system.sizes.history_length
  history = np.zeros(length, np.int32)
  history[: len(own[-length:])] = own[-length:]
  scores = sign * np.array(scorer()(history))
  if exclude_seen:
    scores[np.asarray(own, np.int64) - 1] = -np.inf
  order = np.argsort(-scores, kind='stable')[:k]
  return [int(i) + 1 for i in order if np.isfinite(scores[i])]


def run(out, workdir=None, **options):
  message = recommend.run(
    str(workdir or finished.run()),
    str(out),
    recommend.Options(**{'k': K, **options}),
    quiet=True,
  )
  with open(out, encoding='utf-8') as file:
    lines = list(csv.DictReader(file))
  found = {}
  for line in lines:
    items = found.setdefault(line['user_id'], [])
    items.append(line['item_id'])
    assert int(line['rank']) == len(items)
  return found, message


def own(user):
  prepared = loaded()[0].prepared
  return prepared.items[prepared.user_offsets[user] :][
    : np.diff(prepared.user_offsets)[user]
  ]


def names(items):
  return [str(loaded()[0].prepared.item_ids[item - 1]) for item in items]
