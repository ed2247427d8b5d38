"""One aggregation for every part of the parameters."""

from collections.abc import Callable
from typing import Any

import jax

from twotsrec import types

GRANULARITIES = ('model', 'block', 'leaf')


def split(tree: Any, depth: int | None = 2) -> dict[str, list[jax.Array]]:
  """Leaves by the first parts of their path.

  Args:
    tree: any pytree; in `types.Params`, depth 2 gives a block per table and
      per top-level module, such as 'tables/item' and 'net/extractor'.
    depth: parts of the path in the name; None takes all, a block per leaf.
  Returns:
    {name: leaves}, both in the order of the tree.
  """
  named = {}
  for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
    name = jax.tree_util.keystr(path[:depth], simple=True, separator='/')
    named.setdefault(name, []).append(leaf)
  return named


def select(tree: Any, name: str) -> list[jax.Array]:
  """Leaves of one block.

  Raises:
    types.UserError: no such block; the message lists the blocks there are.
  """
  named = split(tree)
  if name not in named:
    raise types.UserError(f'no block {name!r}; blocks: {", ".join(named)}')
  return named[name]


def by_block(
  aggregator: types.GradientAggregator, depth: int | None = 2
) -> types.GradientAggregator:
  """The aggregator applied to every block of `split` on its own.

  Args:
    aggregator: linear ones are returned as they are: their weights do not
      depend on the gradient, so blocks change nothing.
    depth: of `split`.
  Returns:
    An aggregator whose state is a tuple with a state per block; every block
    draws from its own key.
  """
  if aggregator.weights is not None:
    return aggregator

  def init(num_groups, params):
    parts = split(params, depth).values()
    return tuple(aggregator.init(num_groups, leaves) for leaves in parts)

  def update(group_grads, info, state, *, key=None):
    named = split(group_grads, depth)
    combined, states, log = {}, [], {}
    for number, (name, leaves) in enumerate(named.items()):
      block_key = None if key is None else jax.random.fold_in(key, number)
      combined[name], block_state, entries = aggregator.update(
        leaves, info, state[number], key=block_key
      )
      states.append(block_state)
      log.update({f'{name}/{entry}': v for entry, v in entries.items()})
    return _join(combined, group_grads, depth), tuple(states), log

  post = None
  if aggregator.post is not None:
    post = lambda info, state: tuple(aggregator.post(info, s) for s in state)
  return types.GradientAggregator(init, update, post=post)


def per_leaf(
  aggregator: types.GradientAggregator,
) -> types.GradientAggregator:
  """The aggregator applied to every tensor on its own."""
  return by_block(aggregator, None)


def refine(
  aggregator: types.GradientAggregator, granularity: str
) -> types.GradientAggregator:
  """The aggregator at a granularity of `GRANULARITIES`.

  Raises:
    types.UserError: an unknown granularity.
  """
  makers: dict[str, Callable[..., types.GradientAggregator]] = {
    'model': lambda a: a,
    'block': by_block,
    'leaf': per_leaf,
  }
  if granularity not in makers:
    raise types.UserError(
      f'aggregator granularity {granularity!r}; known:'
      f' {", ".join(GRANULARITIES)}'
    )
  return makers[granularity](aggregator)


def _join(combined, like, depth):
  """Blocks back into a tree of the structure of `like`."""
  iterators = {name: iter(leaves) for name, leaves in combined.items()}

  def following(path, _):
    name = jax.tree_util.keystr(path[:depth], simple=True, separator='/')
    return next(iterators[name])

  return jax.tree_util.tree_map_with_path(following, like)
