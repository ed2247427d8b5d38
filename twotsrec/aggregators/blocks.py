"""One aggregation for every part of the parameters."""

from typing import Any

import jax

from twotsrec import types


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
    raise types.UserError(f'no block {name!r}; known: {", ".join(named)}')
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

  post_block, post = aggregator.post, None
  if post_block is not None:
    post = lambda info, state: tuple(post_block(info, s) for s in state)
  return types.GradientAggregator(init, update, post=post)


def refine(
  aggregator: types.GradientAggregator, granularity: str
) -> types.GradientAggregator:
  """The aggregator for the whole 'model', per 'block' or per 'leaf'."""
  depths = {'block': 2, 'leaf': None}
  if granularity not in depths:
    return aggregator
  return by_block(aggregator, depths[granularity])


def _join(combined, like, depth):
  """Blocks back into a tree of the structure of `like`."""
  iterators = {name: iter(leaves) for name, leaves in combined.items()}

  def following(path, _):
    name = jax.tree_util.keystr(path[:depth], simple=True, separator='/')
    return next(iterators[name])

  return jax.tree_util.tree_map_with_path(following, like)
