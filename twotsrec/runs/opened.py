"""A finished run, opened once and then asked: the source of all its lists."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotsrec import contracts
from twotsrec import recipes
from twotsrec.data import prepared as prepared_lib
from twotsrec.data import routing as routing_lib
from twotsrec.evaluation import behaviors
from twotsrec.evaluation import offline
from twotsrec.runs import experiment as experiment_lib
from twotsrec.runs import histories
from twotsrec.runs import seen
from twotsrec.runs import similar
from twotsrec.serving import answers
from twotsrec.serving import online
from twotsrec.serving import people as people_lib
from twotsrec.serving import recommend as recommend_lib
from twotsrec.serving import state_steps

_FEWEST = 16  # items of a list, so that lists of all lengths share programs


class Run(NamedTuple):
  """A finished run that is asked for lists.

  Attributes:
    experiment: with the settings in force.
    params: those that were selected.
    ranker: of them.
    people: users and items of the run.
    programs: what computes.
  """

  experiment: contracts.Experiment
  params: Any
  ranker: contracts.Ranker
  people: people_lib.People
  programs: answers.Programs


def open_run(workdir: str, routing: str = '') -> answers.Answers:
  """The answers of a finished run, see `load`."""
  return answers_of(load(workdir, routing))


def answers_of(run: Run) -> answers.Answers:
  """The answers of an open run."""
  return answers.make(
    run.people, run.programs, run.experiment.config.model.name
  )


def load(workdir: str, routing: str = '') -> Run:
  """A finished run.

  Args:
    workdir: nothing else is read.
    routing: mode in place of the configured one; '' leaves it.
  Raises:
    types.UserError: not a run directory, training that has not finished, or a
      mode that nothing reads.
  """
  experiment, params = experiment_lib.load(workdir)
  routing_lib.check_mode(routing, [experiment.config])
  config = routing_lib.override(experiment.config, routing)
  experiment = experiment._replace(config=config)
  ranker = experiment_lib.ranker(experiment, params)
  of_run = people(experiment, ranker, seen.leave_out(workdir)[0])
  return Run(
    experiment=experiment,
    params=params,
    ranker=ranker,
    people=of_run,
    programs=programs(experiment, params, ranker),
  )


def people(
  experiment: contracts.Experiment,
  ranker: contracts.Ranker,
  exclude_seen: bool = True,
) -> people_lib.People:
  """Users and items of a run, with everything the run knows of them."""
  prepared, groups = experiment.prepared, experiment.groups
  owned = touched = histories.owned(prepared)
  if behaviors.names(prepared):
    touched = prepared_lib.seen_items(prepared, 'all')
  routes = of_strangers = None
  if ranker.routing:
    key, users = experiment.config.groups.key, np.arange(prepared.num_users)
    routes = routing_lib.of_users(prepared, groups, users, key, ranker.routing)
    of_strangers = routing_lib.of_lengths(groups, key, ranker.routing)
  return people_lib.People(
    user_ids=np.asarray(prepared.user_ids),
    item_ids=np.asarray(prepared.item_ids),
    user_offsets=np.asarray(prepared.user_offsets),
    items=np.asarray(prepared.items),
    owned=owned,
    touched=touched,
    counts=np.asarray(offline.item_counts(prepared)),
    history_length=ranker.history_length,
    routes=routes,
    stranger_routes=of_strangers,
    reads_history=ranker.reads_history,
    exclude_seen=exclude_seen,
  )


def programs(
  experiment: contracts.Experiment, params: Any, ranker: contracts.Ranker
) -> answers.Programs:
  """What computes lists and scores, compiled for each size when it is met."""
  prepared = experiment.prepared

  def top(requests, k, exclude_seen, allowed):
    k = min(k, prepared.num_items)
    chunks = recommend_lib.recommend(
      ranker,
      requests,
      num_items=prepared.num_items,
      k=max(_FEWEST, 1 << (k - 1).bit_length()),
      exclude_seen=exclude_seen,
      allowed=allowed,
    )
    for chunk in chunks:
      yield recommend_lib.Chunk(*(leaf[:, :k] for leaf in chunk))

  service = recipes.of(experiment.config).service
  steps = None
  if service is not None:
    steps = functools.cache(lambda: _steps(service(experiment, params)))
  return answers.Programs(
    top=top,
    scores=functools.partial(recommend_lib.scores, ranker),
    similarity=functools.cache(lambda: similar.similarity(prepared, params)),
    steps=steps,
    reasons=functools.partial(recommend_lib.terms, ranker)
    if ranker.model.reasons
    else None,
  )


def _steps(service: online.Service) -> state_steps.Steps:
  """What moves and reads the states of a service."""
  state = lambda now: online.State(
    *(jnp.array(now[name]) for name in state_steps.FIELDS)
  )
  on_host = lambda moved: jax.tree.map(np.asarray, moved)._asdict()
  return state_steps.Steps(
    known=on_host(service.known),
    new=on_host(service.new),
    update=lambda now, items: on_host(
      online.update(service, state(now), items)
    ),
    query=lambda now: np.asarray(online.query(service, state(now))),
    vectors=np.asarray(service.weights.item),
  )
