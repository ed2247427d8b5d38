"""Check of a fusion under a head, on a small log of planted tastes."""

from collections.abc import Callable
import copy
import functools
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from twotsrec import config as config_lib
from twotsrec import losses
from twotsrec import types
from twotsrec.models import behavior_heads
from twotsrec.models import multi_behavior
from twotsrec.ops import graph as graph_lib
from twotsrec.ops import rows
from twotsrec.testing import parts

# The last user and the last item have no event, the last but one user no event
# of the target.
_USERS, _ITEMS, _TASTES, _WIDTH = 26, 25, 4, 8
_NODES, _BEHAVIORS, _TARGET = _USERS + _ITEMS, 3, 2
_STEPS, _RATE = 30, 0.03
_MARGIN = 0.1  # of an AUC
Pairs = tuple[tuple[np.ndarray, np.ndarray], ...]


class _Batch(NamedTuple):
  """Pairs of the target, with another negative at each step."""

  users: np.ndarray  # i32[P]
  items: np.ndarray  # i32[S, P, 2], the positive first


def check_fusion(
  make: Callable[[config_lib.Config, types.NodeSizes], types.Fusion],
  config: config_lib.Config | None = None,
) -> None:
  """Holds a fusion, under a head, to its contract, `types.Fusion`.

  * Every behavior has a table f32[n, D'], finite also for users and items
    without an event; where it is `merged`, the tables are one.
  * Users and items that are relabeled get the same tables and scores.
  * A pair has the score with which it is ranked, and so has the trunk of the
    head, where plugins attach, if there is one.
  * Gradients are finite, and everything trained reaches a table.
  * With `upstream_only`, edges of later behaviors change no earlier table.
  * Thirty steps rank held-out items of a log of planted tastes above what
    popularity does.

  Args:
    make: (config, sizes) -> the fusion, as `fusion.name=file.py:make` names it.
    config: settings under `fusion` and `head`, of three behaviors; by default
      COPF's with a scale of scores of 1.
  """
  config = copy.deepcopy(config) if config else _default()
  config.model.width = _WIDTH
  sizes = types.NodeSizes(_BEHAVIORS, _USERS, _ITEMS, _WIDTH)
  fusion = make(config, sizes)
  head = behavior_heads.make(config, fusion, sizes)
  model = multi_behavior.compose(fusion, head, sizes)
  dense, held = _log()
  program = jax.jit(functools.partial(_look, model))
  start = jax.jit(model.init)(jax.random.key(0))
  params = _random_like(start)
  context, batch = model.context(_pairs(dense)), _batch(dense)
  said = program(params, context, batch, 0)
  _check_tables(said, fusion)
  _check_scores(said, model)
  _check_gradient(program(params, context, batch, 1, 1.0)['gradient'])
  _check_relabeling(program, model, params, dense, said)
  if fusion.upstream_only:
    _check_order(fusion, params, dense)
  trained = program(start, context, batch, _STEPS)['pairs']
  _check_learning(np.asarray(trained), dense[_TARGET], held)


def _default():
  config = config_lib.Config()
  config.head.score_scale = (1.0,)
  return config


def _log():
  """bool[U, I] of each behavior, and an item of each user outside of all."""
  generator = np.random.default_rng(0)
  dense = np.zeros((_BEHAVIORS, _USERS, _ITEMS), bool)
  held = np.zeros(_USERS, np.int64)
  for user in range(_USERS - 1):
    own = np.arange(user % _TASTES, _ITEMS - 1, _TASTES)
    held[user], *others = generator.permutation(own)
    noise = generator.choice(_ITEMS - 1, 2)
    for k, chosen in enumerate((others, others[:4], others[:3])):
      dense[k, user, chosen] = True
    dense[0, user, noise[noise != held[user]]] = True
  dense[_TARGET, _USERS - 2] = False
  return dense, held


def _pairs(dense) -> Pairs:
  """(user, item) of every behavior."""
  found = [np.nonzero(mask) for mask in dense]
  return tuple((users, items + 1) for users, items in found)


def _batch(dense):
  """All pairs of the target, with items that are none."""
  generator = np.random.default_rng(1)
  users, items = np.nonzero(dense[_TARGET])
  chance = (~dense[_TARGET][users]).astype(float)
  chance /= chance.sum(1, keepdims=True)
  draw = lambda p: generator.choice(_ITEMS, _STEPS, p=p)
  negatives = np.stack([draw(p) for p in chance], axis=1)
  both = np.stack([np.broadcast_to(items, negatives.shape), negatives], axis=2)
  return _Batch(users.astype('i4'), (both + 1).astype('i4'))


def _random_like(params):
  """Parameters of a size that scores tell apart."""
  generator = np.random.default_rng(2)
  draw = lambda leaf: (0.3 * generator.normal(size=leaf.shape)).astype('f4')
  return jax.device_put(jax.tree.map(draw, params))


def _look(
  model, params, context, batch, steps, all_tables=0.0
) -> dict[str, Any]:
  """Trains for some steps, and looks at what comes of it.

  The loss is that of the target, and some function of the tables of all
  behaviors times `all_tables`.
  """
  optimizer = optax.adam(_RATE)

  def loss(params, items):
    encoded = model.encode(params, context, (_TARGET,))
    scores = model.score(params, encoded, _TARGET, batch.users, items)
    ranking = jnp.mean(losses.bpr_loss(scores[:, 0] - scores[:, 1]))
    waves = [jnp.sum(jnp.sin(table)) for table in encoded.behaviors]
    return ranking + all_tables * sum(waves)

  def step(at, carry):
    params, state, _ = carry
    gradient = jax.grad(loss)(params, batch.items[at])
    updates, state = optimizer.update(gradient, state)
    return optax.apply_updates(params, updates), state, gradient

  nothing = jax.tree.map(jnp.zeros_like, params)
  start = (params, optimizer.init(params), nothing)
  params, _, gradient = jax.lax.fori_loop(0, steps, step, start)
  encoded = model.encode(params, context, (_TARGET,))
  users, every = jnp.arange(_USERS), jnp.arange(1, _ITEMS + 1)
  matrix = jnp.broadcast_to(every, (_USERS, _ITEMS))
  said = {
    'gradient': gradient,
    'tables': encoded.behaviors,
    'pairs': model.score(params, encoded, _TARGET, users, matrix),
  }
  served = model.serve(params, context)
  rank = functools.partial(_ranked, model.ranker, served)
  said['ranked'] = rank(every, jnp.append(users, -1)), rank(matrix[:, ::-1])
  if model.trunk is not None:
    frozen = model.freeze(params, context)
    said['trunk'] = _ranked(model.trunk, frozen, every)
  return said


def _ranked(model, params, ids, users=None):
  """Scores as evaluation asks for them; user -1 is filling."""
  users = jnp.arange(_USERS) if users is None else users
  inputs = {'user': users, 'history': jnp.zeros((len(users), 1), jnp.int32)}
  encoded = model.encode(params.net, None, {}, inputs)
  return model.score(
    params.net, encoded, rows.gather(params.tables['item'], ids)
  )


def _close(ours, theirs, what):
  size = np.abs(theirs).max()
  parts.expect(
    bool(np.allclose(ours, theirs, rtol=1e-4, atol=1e-5 * size)),
    f'{what}: they differ by {np.abs(ours - theirs).max():.2g}, sizes are up to'
    f' {size:.2g}',
  )


def _check_tables(said, fusion):
  tables = said['tables']
  parts.expect(
    len(tables) == _BEHAVIORS, f'{len(tables)} tables of {_BEHAVIORS} behaviors'
  )
  for table in tables:
    chex.assert_shape(table, (_NODES, fusion.width))
    chex.assert_type(table, jnp.float32)
  chex.assert_tree_all_finite(said)
  same = [np.array_equal(tables[-1], table) for table in tables]
  parts.expect(
    not fusion.merged or all(same), 'it is `merged`, but its tables differ'
  )


def _check_scores(said, model):
  pairs, (every, own) = np.asarray(said['pairs']), said['ranked']
  spread = np.std(pairs, axis=1).max()
  parts.expect(spread > 1e-3, f'scores of a user differ by {spread:.1g} only')
  _close(every[:-1], pairs, 'a pair is ranked by another score than its own')
  _close(own, pairs[:, ::-1], 'lists of each user rank by other scores')
  if model.trunk is not None:
    _close(said['trunk'], pairs, 'the trunk for plugins has other scores')


def _check_gradient(gradient):
  chex.assert_tree_all_finite(gradient)
  moved = lambda leaf: not leaf.size or bool(np.any(leaf))
  tables, net = gradient.tables, gradient.net
  trained = {'tables': tables, 'fusion': net['fusion']}
  for path, leaf in jax.tree_util.tree_flatten_with_path(trained)[0]:
    name = jax.tree_util.keystr(path)
    parts.expect(moved(leaf), f'{name} is trained, but gets no gradient')
  of_head = [moved(leaf) for leaf in jax.tree.leaves(net['head'])]
  parts.expect(any(of_head) or not of_head, 'the head gets no gradient')
  parts.expect(
    not np.any(tables['item']['embedding'][0]), 'the row of padding is moved'
  )


def _check_relabeling(program, model, params, dense, said):
  """Results go with the nodes, whatever their numbers."""
  generator = np.random.default_rng(3)
  users, items = generator.permutation(_USERS), generator.permutation(_ITEMS)
  chosen = {'user': users, 'item': np.append(0, items + 1)}
  tables = {
    side: {'embedding': params.tables[side]['embedding'][chosen[side]]}
    for side in chosen
  }
  # A head may have parameters of every item.
  of_items = lambda x: x[items] if x.shape[:1] == (_ITEMS,) else x
  head = jax.tree.map(of_items, params.net['head'])
  renamed = dense[:, users][:, :, items]
  given = (
    params._replace(tables=tables, net={**params.net, 'head': head}),
    model.context(_pairs(renamed)),
  )
  # No step is taken: the pairs of a batch need no new names.
  found = program(*given, _batch(dense), 0)
  what = 'relabeled users and items have other {}'
  nodes = np.append(users, _USERS + items)
  for ours, theirs in zip(found['tables'], said['tables'], strict=True):
    _close(ours, np.asarray(theirs)[nodes], what.format('tables'))
  pairs = np.asarray(said['pairs'])[users][:, items]
  _close(found['pairs'], pairs, what.format('scores'))


def _check_order(fusion, params, dense):
  """Tables of behaviors before the one whose edges change are as they were."""
  tables = [params.tables[s]['embedding'] for s in ('user', 'item')]
  nodes = jnp.concatenate([tables[0], tables[1][1:]])

  def encode(masks):
    edges = graph_lib.make_edges(_pairs(masks), _USERS, _ITEMS)
    net = params.net['fusion']
    return fusion.encode(net, nodes, fusion.context(edges)).behaviors

  before = encode(dense)
  for changed in range(1, _BEHAVIORS):
    others = np.copy(dense)
    others[changed] = ~others[changed]
    after = encode(others)
    for k in range(changed):
      parts.expect(
        np.array_equal(before[k], after[k]),
        f'it is `upstream_only`, but edges of behavior {changed} change the'
        f' table of behavior {k}',
      )
    parts.expect(
      not np.array_equal(before[changed], after[changed]),
      f'edges of behavior {changed} do not change its table',
    )


def _check_learning(scores, bought, held):
  """Held-out items against those not bought, of users who bought."""
  active = np.flatnonzero(bought.any(1))
  popularity = np.broadcast_to(bought.sum(0), scores.shape)
  trained, popular = (
    np.mean([_auc(of[u], held[u], ~bought[u]) for u in active])
    for of in (scores, popularity)
  )
  parts.expect(
    bool(trained > popular + _MARGIN),
    f'{_STEPS} steps on a log of planted tastes rank held-out items with an AUC'
    f' of {trained:.2f}, popularity with {popular:.2f}',
  )


def _auc(scores, item, rivals):
  """Share of the rivals below an item, half of the ties."""
  others = scores[rivals & (np.arange(len(scores)) != item)]
  below, tied = others < scores[item], others == scores[item]
  return np.mean(below) + np.mean(tied) / 2
