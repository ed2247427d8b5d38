"""Starts of users between their own embeddings and psi (`theory.shrunk`).

    h_u = w_u phi_u + (1 - w_u) psi,    w_u = V / (V + Q / (T_u + 1))

One network serves everybody. It reads the last K train events of a user, the
window, from h_u, where phi_u is an embedding of the T_u train events before the
window and has not seen it. A user without any starts at psi, w_u = 0, and is
read whole, as somebody new will be. The first K events of the others are read
from psi too, so that the network knows how histories begin.

Items are those of stage 1 on all train events. The phase here fits the users'
vectors anew while items stand still. Q and V are estimated as for the threshold
of 2TS; only their ratio matters, so that of other vectors in the same space of
items serves.

Departure: 2TS has a threshold where this has a weight. The theorem's estimate
without events is 0 for everybody; here its weight is 0.
"""

import dataclasses
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from twotsrec import contracts
from twotsrec import types
from twotsrec.data import prepared as prepared_lib
from twotsrec.data import stream_jobs
from twotsrec.models import ccf
from twotsrec.objectives import streams as stream_objectives
from twotsrec.recipes.two_time import stage1
from twotsrec.theory import estimates as estimates_lib
from twotsrec.theory import power_law
from twotsrec.theory import shrunk
from twotsrec.theory import user_vectors
from twotsrec.training import phases


class Begun(NamedTuple):
  """What stage 2 begins with.

  Attributes:
    vectors: of items and users, with weights where starts are shrunk.
    phases: of the fit of users, by folder.
    section: what the report says of the starts; {} where none is shrunk.
  """

  vectors: stream_objectives.Vectors
  phases: dict[str, contracts.Trained] = {}
  section: dict[str, Any] = {}


def begin(
  experiment: contracts.Experiment,
  work: contracts.Work,
  stage: phases.Parts,
  choice: stage1.Choice,
) -> Begun:
  """Vectors of stage 1 after a number of epochs, for stage 2.

  Args:
    experiment: data and settings.
    work: fits the users' vectors where starts are shrunk.
    stage: of stage 1.
    choice: its folder, and epochs of which there is a snapshot.
  """
  epochs = choice.epochs
  params, vectors = stage1.snapshot(stage, choice.folder, epochs)
  options = experiment.config.two_time
  if not stream_jobs.is_shrunk(options):
    return Begun(vectors)
  fit = make(experiment, params, stage.learner.context, epochs)
  trained = work.fit(folder := f'starts_{epochs}', *fit)
  own = stage1.refitted(params, trained.params, fit.learner.context)
  estimates = estimate(experiment, np.asarray(vectors.item))
  counts = prepared_lib.train_counts(experiment.prepared)
  before = stream_jobs.known_before(counts, options)
  weight = shrunk.weight(before, estimates.q, estimates.variance)
  group = np.asarray(experiment.groups.user_group)
  number = len(experiment.groups.sizes)
  users = np.bincount(group, minlength=number)
  means = np.bincount(group, weight, number) / np.maximum(users, 1)
  return Begun(
    vectors=vectors._replace(user=own, weight=jnp.float32(weight)),
    phases={folder: trained},
    section={
      'estimates': estimates._asdict(),
      'weight_by_group': means.tolist(),
      'users_at_psi': int(np.sum(weight == 0.0)),
    },
  )


def make(
  experiment: contracts.Experiment,
  params: types.Params,
  context: dict[str, Any],
  epochs: int,
) -> phases.Parts:
  """The phase that fits users to the events before their windows.

  Args:
    experiment: data and settings.
    params: of stage 1.
    context: of stage 1, with the items that were trained.
    epochs: how many, those of stage 1.
  """
  config, prepared = experiment.config, experiment.prepared
  late = stream_jobs.last_windows(prepared, config.two_time)
  learner, source, how = stage1.make_refit(experiment, params, context, late)
  sizes = types.Sizes(prepared.num_users, prepared.num_items, 1)

  def init(key):
    tables = ccf.init(key, learner.context, sizes, config).tables
    return types.Params({'user': tables['user']}, {})

  train = dataclasses.replace(how.train, epochs=epochs)
  return phases.Parts(
    learner=learner._replace(init=init),
    source=source,
    how=how._replace(train=train),
  )


def estimate(
  experiment: contracts.Experiment, item_vectors: np.ndarray
) -> estimates_lib.Estimates:
  """Q and Var_m of the data, by users fitted anew to halves of their events.

  Args:
    experiment: its train events.
    item_vectors: f32[I + 1, D], of stage 1.
  """
  prepared, seed = experiment.prepared, experiment.config.train.seed
  counts = prepared_lib.train_counts(prepared)
  train = np.asarray(prepared.split) == prepared_lib.TRAIN
  offsets = np.concatenate([[0], np.cumsum(counts)])
  halves = user_vectors.ridge_halves(
    item_vectors, offsets, np.asarray(prepared.items)[train], seed=seed
  )
  return estimates_lib.estimate(
    halves,
    activity=counts,
    alpha_minimum=power_law.law_start(counts),
    seed=seed,
  )
