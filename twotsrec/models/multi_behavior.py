"""A fusion and a head as one model, and its form for ranking."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from twotsrec import config as config_lib
from twotsrec import fields
from twotsrec import types
from twotsrec.models import behavior_heads
from twotsrec.models import behavior_ranker
from twotsrec.models import fusion as fusion_lib
from twotsrec.models import pair_prior
from twotsrec.ops import graph as graph_lib
from twotsrec.ops import rows

_FUSION_KEY = 3  # the first three make the tables and the head
_XAVIER = jax.nn.initializers.glorot_uniform()


class Encoded(NamedTuple):
  """All nodes, for all tasks.

  Attributes:
    behaviors: K times f32[U + I, D], representations e^{k,*}.
    tasks: for each task the head's table of the nodes, or None.
    extra: of the fusion, `types.Fused`.
  """

  behaviors: tuple[jax.Array, ...]
  tasks: tuple[Any, ...]
  extra: Any = ()


class MultiBehavior(NamedTuple):
  """Scores every behavior from the graphs of all (COPF sec. 4).

  Attributes:
    init: (key, context=None, sizes=None) -> Params with tables {'user':
      {'embedding': f32[U, D]}, 'item': {'embedding': f32[I + 1, D]}} and net
      {'fusion': ..., 'head': ...}.
    context: (users i64[E], items i64[E]) of each behavior, the target last,
      and data.behaviors.Touches or None -> what `encode` and `serve` are given.
    encode: (params, context, tasks, *, users=None, key=None) -> Encoded, tasks
      those to prepare; users i32[B] those to prepare rows for, in this order,
      None all. A missing key means evaluation (no dropout).
    score: (params, encoded, task, users i32[P], items i32[P, C]) -> f32[P, C],
      users by their row in the prepared tables.
    ranker: the target score of any known user and item, with what the prior
      adds to it, as a model whose parameters are
    serve: (params, context) -> Params.
    trunk: the same ranker cut where plugins attach, without the prior; its
      parameters are
    freeze: (params, context) -> Params. Both None where a head has no vector
      of a user.
    extra: names in `Encoded.extra`.
    width: D', of the tables.
  """

  init: Callable[..., types.Params]
  context: Callable[..., dict[str, Any]]
  encode: Callable[..., Encoded]
  score: Callable[..., jax.Array]
  ranker: types.Model
  serve: Callable[..., types.Params]
  trunk: types.Model | None = None
  freeze: Callable[..., types.Params] | None = None
  extra: tuple[str, ...] = ()
  width: int = 0


def make(
  config: config_lib.Config,
  num_behaviors: int,
  num_users: int,
  num_items: int,
) -> MultiBehavior:
  """The model a configuration names.

  Raises:
    types.UserError: a fusion or head that does not exist or fit.
  """
  fields.refuse_options(config.model, 'model', ('width',))
  width = config.model.width
  sizes = types.NodeSizes(num_behaviors, num_users, num_items, width)
  fusion = fusion_lib.make(config, sizes)
  head = behavior_heads.make(config, fusion, sizes)
  prior = _make_prior(config.behavior, num_behaviors)
  start, dtype = _start(config.behavior), config.fusion.product_dtype
  return compose(fusion, head, sizes, prior, start, dtype)


def _start(options):
  """What draws the tables of embeddings."""
  if options.init == 'normal':
    return jax.nn.initializers.normal(options.init_std)
  return _XAVIER


def _make_prior(options, num_behaviors):
  """(graph.Edges, touches) -> pair_prior.Prior, or None without one."""
  if options.prior == 'none':
    return None
  pair_prior.check(num_behaviors)
  smoothing, scale = options.prior_smoothing, options.prior_scale
  return lambda edges, touches: pair_prior.make(
    edges.pairs, edges.num_users, edges.num_items, smoothing, scale, touches
  )


def compose(
  fusion: types.Fusion,
  head: types.Head,
  sizes: types.NodeSizes,
  prior: Callable[..., pair_prior.Prior] | None = None,
  start: jax.nn.initializers.Initializer = _XAVIER,
  dtype: str = 'float32',
) -> MultiBehavior:
  """The model of a fusion and a head.

  A prior makes what is added to the scores of the target; None adds nothing.
  `start` draws the tables of embeddings; `dtype` is that of the neighbors in
  the head's graph products.
  """
  target = sizes.num_behaviors - 1

  def init(key, context=None, model_sizes=None):
    del context, model_sizes
    return _init(key, fusion, head, sizes, start)

  def context_of(pairs, touches=None):
    return _context(pairs, fusion, head, sizes, prior, touches)

  def encode(
    params, context, tasks=tuple(range(target + 1)), *, users=None, key=None
  ):
    tables = jnp.concatenate(
      [
        params.tables['user']['embedding'],
        params.tables['item']['embedding'][1:],
      ]
    )
    net = params.net['fusion']
    fused = fusion.encode(net, tables, context['fusion'], key=key)
    nodes = behavior_heads.nodes(context['own'], sizes.num_users, users, dtype)
    prepare = lambda task: head.prepare(params.net['head'], fused, nodes, task)
    prepared = tuple(
      prepare(k) if k in tasks else None for k in range(target + 1)
    )
    return Encoded(fused.behaviors, prepared, fused.extra)

  def score(params, encoded, task, users, items):
    # One table for both sides: halves would be copied, back and forth.
    table = encoded.tasks[task]
    user = jax.tree.map(lambda leaf: leaf[:, None], rows.gather(table, users))
    first = jax.tree.leaves(table)[0].shape[0] - sizes.num_items
    item = rows.gather(table, first + items - 1)
    return head.score(params.net['head'], user, item, task)

  def walk(params, context):
    table = encode(params, context, (target,)).tasks[target]
    return behavior_heads.split_sides(table, sizes.num_users)

  def serve(params, context):
    gains, sides = context.get('prior'), walk(params, context)
    net = params.net['head']
    return behavior_ranker.ranker_params(head, net, sides, gains)

  def freeze(params, context):
    net, sides = params.net['head'], walk(params, context)
    return behavior_ranker.trunk_params(head, net, sides)

  def init_trunk(key, context, model_sizes):
    del model_sizes
    return freeze(init(key), context)

  num_items, width = sizes.num_items, fusion.width
  trunk = behavior_ranker.make_trunk(head, width, num_items, init_trunk)
  plugs = head.scorer is not None
  return MultiBehavior(
    init=init,
    context=context_of,
    encode=encode,
    score=score,
    ranker=behavior_ranker.make(head, num_items),
    serve=serve,
    trunk=trunk if plugs else None,
    freeze=freeze if plugs else None,
    extra=fusion.extra,
    width=fusion.width,
  )


def _init(key, fusion, head, sizes, start):
  user_key, item_key, head_key = jax.random.split(key, _FUSION_KEY)
  draw = lambda key, count: start(key, (count, sizes.width), jnp.float32)
  items = draw(item_key, sizes.num_items)
  tables = {
    'user': {'embedding': draw(user_key, sizes.num_users)},
    'item': {'embedding': jnp.pad(items, ((1, 0), (0, 0)))},
  }
  fusion_net = fusion.init(jax.random.fold_in(key, _FUSION_KEY))
  net = {'fusion': fusion_net, 'head': head.init(head_key)}
  return types.Params(tables, net)


def _context(pairs, fusion, head, sizes, prior, touches):
  """Given arrays: graphs of fusion and head, and the prior, if any."""
  edges = graph_lib.make_edges(pairs, sizes.num_users, sizes.num_items)
  # The head walks a task's own graph whatever the fusion does (COPF eq. 11).
  own = tuple(
    graph_lib.bipartite(one, sizes.num_users, sizes.num_items)
    for one in edges.pairs
    if head.walks
  )
  context = {'fusion': fusion.context(edges), 'own': own}
  if prior is None:
    return context
  return context | {'prior': prior(edges, touches)}
