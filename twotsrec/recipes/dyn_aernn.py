"""dynAERNN: an autoencoder of growing graphs, and a regression of its products.

An epoch has every node before every snapshot that enough others precede. What
ranks is made of the last snapshots, and stands still while events arrive.

Departure: 2TS says nothing of the snapshots; there are ten of the train events,
each with as many edges more than the one before.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotsrec import config as config_lib
from twotsrec import contracts
from twotsrec import fields
from twotsrec import types
from twotsrec.data import dislikes
from twotsrec.data import impressions
from twotsrec.data import plans
from twotsrec.data import snapshots
from twotsrec.data import timelines
from twotsrec.evaluation import offline
from twotsrec.models import dyn_aernn
from twotsrec.models import known_users
from twotsrec.objectives import snapshots as objectives
from twotsrec.training import optimizers
from twotsrec.training import phases
from twotsrec.training import settings
from twotsrec.training import summary
from twotsrec.training import updates

READS = (
  fields.Reads('groups.* model.* dyn_aernn.*'),
  fields.Reads('data.*', but='data.num_negatives data.negative_*'),
  fields.Reads(
    'train.batch_size train.learning_rate train.beta2 train.epochs'
    ' train.patience train.min_epochs train.evaluate_every train.select_*'
    ' train.checkpoint_every train.keep train.seed'
  ),
  *settings.OFFLINE_OR_ONLINE,
)
_MOST = 1 << 30  # bytes of the matrix of all pairs of nodes


class System(NamedTuple):
  """The ranker, and the graph.

  Attributes:
    model: of users as they are after training.
    first: i8[n, n], of `data.snapshots`.
    edges: (users, items) as nodes, i64[E] each.
    others: pairs that are no edges, the same.
  """

  model: types.Model
  first: jax.Array
  edges: tuple[np.ndarray, np.ndarray]
  others: tuple[np.ndarray, np.ndarray]


class Batch(NamedTuple):
  """Nodes i32[B] before snapshots i32[B]; all are of one group."""

  node: jax.Array
  time: jax.Array
  group: jax.Array
  weight: jax.Array


def check(config: config_lib.Config) -> None:
  """Refuses settings that cannot work, or that nothing reads."""
  settings.check(config, READS)
  fields.refuse_options(config.model, 'model', ('width',))
  options = config.dyn_aernn
  if options.lookback >= options.snapshots:
    raise types.UserError(
      f'dyn_aernn.lookback is {options.lookback}, but of {options.snapshots}'
      ' snapshots none has so many before it; allowed are 1 to'
      f' {options.snapshots - 1}'
    )


def build(experiment: contracts.Experiment) -> contracts.Experiment:
  """The graph; refuses logs without times, or with too many nodes."""
  config, prepared = experiment.config, experiment.prepared
  name = f'model.name={config.model.name}'
  impressions.refuse(prepared, name)
  dislikes.refuse(prepared, name)
  timelines.require_times(prepared)
  size = dyn_aernn.adjacency_bytes(prepared.num_users, prepared.num_items)
  if size > _MOST:
    raise types.UserError(
      f'{name} needs {size:,} bytes for the pairs of'
      f' {prepared.num_users:,} users and {prepared.num_items:,} items, and'
      f' {_MOST:,} are allowed; prepare fewer with --min_user and --min_item,'
      ' or use model.name=jodie'
    )
  first = snapshots.first(prepared, config.dyn_aernn.snapshots)
  is_edge = first[: prepared.num_users] < config.dyn_aernn.snapshots
  user, item = np.nonzero(is_edge)
  rng = np.random.default_rng(config.train.seed)
  system = System(
    model=known_users.make(),
    first=jnp.asarray(first),
    edges=(user, item),
    others=_others(rng, is_edge, user.size),
  )
  return experiment._replace(system=system)


def _others(rng, is_edge, number):
  """About so many pairs of a user and an item that are no edge, or fewer."""
  users, nodes = is_edge.shape
  user = rng.integers(users, size=2 * number)
  item = rng.integers(users, nodes, size=2 * number)
  free = np.flatnonzero(~is_edge[user, item])[:number]
  return user[free], item[free]


def make_parts(experiment: contracts.Experiment) -> phases.Parts:
  """What learns, the nodes and times of its steps, and how."""
  config, options = experiment.config, experiment.config.dyn_aernn
  nodes = experiment.system.first.shape[0]
  times = options.snapshots - options.lookback
  group = np.zeros(nodes * times, np.int32)
  settings_of_plan = config.train.batch_size, 'natural', config.train.seed

  def batch_of(feed, examples, key):
    del feed, key
    some = jnp.maximum(examples, 0)
    return Batch(
      node=some % nodes,
      time=options.lookback + some // nodes,
      group=jnp.zeros_like(some),
      weight=(examples >= 0).astype(jnp.float32),
    )

  source = contracts.Source(
    feed={},
    sizes=jnp.asarray([group.size], jnp.float32),
    batch_of=batch_of,
    plan_of=lambda epoch: plans.make_plan(group, 1, *settings_of_plan, epoch),
  )
  learner = contracts.Learner(
    init=lambda key: _init(experiment, key),
    context={'first': experiment.system.first},
    loss=objectives.make(config),
  )
  adam = optimizers.make(config.train)
  how = phases.How(
    train=config.train,
    update=updates.aggregated(config, learner, source, adam),
    keys=phases.keys_of(jax.random.key(config.train.seed)),
    judge=_judge(experiment),
  )
  return phases.Parts(learner=learner, source=source, how=how)


def _init(experiment, key) -> types.Params:
  nodes = experiment.system.first.shape[0]
  return types.Params({}, dyn_aernn.init(key, experiment.config, nodes))


def _judge(experiment) -> Callable[..., dict[str, Any]] | None:
  config = experiment.config
  if config.train.select_metric == 'none':
    return None
  if config.train.select_metric == 'loss':
    raise types.UserError(
      "train.select_metric 'loss' is of sequence models, and"
      f' model.name={config.model.name} has no validation loss; use mrr,'
      ' another ranking metric, or none'
    )
  ranker_of = lambda params: ranker(experiment, params)
  return offline.make_metric(experiment, ranker_of, config.train)


def template(experiment: contracts.Experiment) -> types.Params:
  """Parameters as a finished run has them."""
  return _init(experiment, jax.random.key(0))


def ranker(
  experiment: contracts.Experiment, params: types.Params
) -> contracts.Ranker:
  """Users of the log by their products with items after the last snapshot."""
  system, options = experiment.system, experiment.config.dyn_aernn
  z = dyn_aernn.embed_all(
    params.net, system.first, options.snapshots, options.lookback
  )
  weights = dyn_aernn.weigh(np.asarray(z), system.edges, system.others)
  users, items = jnp.split(z, [experiment.prepared.num_users])
  padding = jnp.zeros((1, items.shape[1]))
  return contracts.Ranker(
    model=system.model,
    params=known_users.params(
      users * weights, jnp.concatenate([padding, items])
    ),
    context={},
    history_length=experiment.config.data.history_length,
    reads_history=False,
  )


RECIPE = contracts.Recipe(
  check=check,
  build=build,
  train=summary.of_one_phase(make_parts),
  template=template,
  rank=offline.rank,
  ranker=ranker,
  rules=offline.rules,
  protocol=offline.protocol,
  grows=True,
)
