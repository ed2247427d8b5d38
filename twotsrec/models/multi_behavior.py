"""A fusion and a head as one model, and its form for ranking."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from twotsrec import config as config_lib
from twotsrec import models
from twotsrec import types
from twotsrec.models import behavior_heads
from twotsrec.models import behavior_ranker
from twotsrec.models import fusion as fusion_lib
from twotsrec.models import pair_prior
from twotsrec.ops import rows

PRIORS = ('none', 'pattern')


class Encoded(NamedTuple):
  """All nodes, for all tasks.

  Attributes:
    behaviors: K times f32[U + I, D], representations e^{k,*}.
    tasks: for each task the head's table of the nodes, or None.
  """

  behaviors: tuple[jax.Array, ...]
  tasks: tuple[Any, ...]


class MultiBehavior(NamedTuple):
  """Scores every behavior from the graphs of all (COPF sec. 4).

  Attributes:
    init: (key, context=None, sizes=None) -> Params with tables {'user':
      {'embedding': f32[U, D]}, 'item': {'embedding': f32[I + 1, D]}} and net
      {'head': ...}.
    encode: (params, context, tasks) -> Encoded, tasks those to prepare.
    score: (params, encoded, task, users i32[P], items i32[P, C]) -> f32[P, C].
    ranker: the target score of any known user and item, with what the prior
      adds to it, as a model whose parameters are
    serve: (params, context) -> Params.
    trunk: the same ranker cut where plugins attach, without the prior; its
      parameters are
    freeze: (params, context) -> Params. Both None where a head has no vector
      of a user.
  """

  init: Callable[..., types.Params]
  encode: Callable[..., Encoded]
  score: Callable[..., jax.Array]
  ranker: types.Model
  serve: Callable[..., types.Params]
  trunk: types.Model | None = None
  freeze: Callable[..., types.Params] | None = None


def make(
  config: config_lib.Config,
  num_behaviors: int,
  num_users: int,
  num_items: int,
) -> MultiBehavior:
  """The model a configuration names.

  Raises:
    types.UserError: a fusion, head or prior that does not exist or fit.
  """
  models.check_options(config.model, ('width',))
  fusion_lib.check(config.fusion, num_behaviors)
  prior = config.behavior.prior
  if prior not in PRIORS:
    raise types.UserError(
      f'behavior.prior {prior!r}; known: {", ".join(PRIORS)}'
    )
  if prior == 'pattern':
    pair_prior.check(num_behaviors)
  width, target = config.model.width, num_behaviors - 1
  head = behavior_heads.make(
    config.head, config.fusion, width, num_behaviors, num_users
  )

  def init(key, context=None, sizes=None):
    del context, sizes
    return _init(key, head, width, num_users, num_items)

  def encode(params, context, tasks=tuple(range(num_behaviors))):
    nodes = jnp.concatenate(
      [
        params.tables['user']['embedding'],
        params.tables['item']['embedding'][1:],
      ]
    )
    behaviors = fusion_lib.encode(nodes, context['walks'], config.fusion)
    prepare = lambda task: head.prepare(
      params.net['head'], behaviors, context['own'], task
    )
    return Encoded(
      behaviors,
      tuple(prepare(k) if k in tasks else None for k in range(num_behaviors)),
    )

  def score(params, encoded, task, users, items):
    # One table for both sides: halves would be copied, back and forth.
    table = encoded.tasks[task]
    user = jax.tree.map(lambda leaf: leaf[:, None], rows.gather(table, users))
    item = rows.gather(table, num_users + items - 1)
    return head.score(params.net['head'], user, item, task)

  def walk(params, context):
    table = encode(params, context, (target,)).tasks[target]
    sides = behavior_heads.split_sides(table, num_users)
    return behavior_ranker.Walked(params.net['head'], *sides)

  def serve(params, context):
    gains = context['prior'] if prior == 'pattern' else None
    return behavior_ranker.ranker_params(head, walk(params, context), gains)

  def freeze(params, context):
    return behavior_ranker.trunk_params(head, walk(params, context))

  ranker = behavior_ranker.make(head, num_items)
  if head.scorer is None:
    return MultiBehavior(init, encode, score, ranker, serve)
  trunk = behavior_ranker.make_trunk(
    head,
    width,
    num_items,
    lambda key, context, sizes: freeze(init(key), context),
  )
  return MultiBehavior(init, encode, score, ranker, serve, trunk, freeze)


def _init(key, head, width, num_users, num_items):
  xavier = jax.nn.initializers.glorot_uniform()
  user_key, item_key, head_key = jax.random.split(key, 3)
  items = xavier(item_key, (num_items, width), jnp.float32)
  tables = {
    'user': {'embedding': xavier(user_key, (num_users, width), jnp.float32)},
    'item': {'embedding': jnp.pad(items, ((1, 0), (0, 0)))},
  }
  return types.Params(tables, {'head': head.init(head_key)})


def make_context(
  edges: Sequence[fusion_lib.Edges],
  num_users: int,
  num_items: int,
  config: config_lib.Config,
) -> dict[str, Any]:
  """What the model is given: its graphs, and who showed what.

  Args:
    edges: (user, item) of each behavior, the target last.
    num_users: U.
    num_items: I.
    config: which graphs the fusion walks.
  """
  shape, fusion = (num_users, num_items), config.fusion
  # The head walks a task's own graph whatever the fusion does (COPF eq. 11).
  own = fusion_lib.own_graphs(edges, *shape)
  walked = own
  if fusion.normalization != 'left':
    walked = fusion_lib.own_graphs(edges, *shape, fusion.normalization)
  walks = fusion_lib.make_graphs(edges, *shape, fusion, walked)
  context = {'walks': walks, 'own': own}
  options = config.behavior
  if options.prior == 'pattern':
    context['prior'] = pair_prior.make(
      edges,
      num_users,
      num_items,
      options.prior_smoothing,
      options.prior_scale,
    )
  return context
