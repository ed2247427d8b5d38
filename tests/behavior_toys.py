"""A small log with three behaviors and its dense algebra."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from tests import configured
from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.data import behavior_feeds
from twotsrec.data import behaviors as behaviors_lib
from twotsrec.data import prepared as prepared_lib
from twotsrec.models import behavior_heads
from twotsrec.models import multi_behavior
from twotsrec.objectives import behaviors as behavior_objectives
from twotsrec.ops import graph as graph_lib
from twotsrec.ops import pairs as pairs_lib
from twotsrec.presets import copf

NAMES = ('view', 'cart', 'buy')
USERS, ITEMS, WIDTH = 6, 8, 4
NODES = USERS + ITEMS
# User 4 never buys, user 5 does nothing but view; nobody touches item 8.
IDLE_USER, IDLE_ITEM = 4, 8


@functools.cache
def masks() -> tuple[np.ndarray, ...]:
  """B_k of every behavior, bool[U, I]; carts without a view among them."""
  generator = np.random.default_rng(3)
  found = [generator.random((USERS, ITEMS)) < p for p in (0.5, 0.35, 0.3)]
  for k, mask in enumerate(found):
    mask[:4, k : k + 2] = np.eye(2, dtype=bool)[[0, 1, 0, 1]]  # never empty
    mask[:, IDLE_ITEM - 1] = False
  found[2][IDLE_USER] = False
  found[1][5] = found[2][5] = False
  return tuple(found)


def seen(mask: np.ndarray) -> prepared_lib.SeenItems:
  """Items of every user."""
  offsets = np.concatenate([[0], np.cumsum(mask.sum(1))]).astype(np.int64)
  return prepared_lib.SeenItems(offsets, np.nonzero(mask)[1].astype('i4') + 1)


def behaviors(dense=None, names=NAMES) -> behaviors_lib.Behaviors:
  """The log, or that of other matrices."""
  dense = masks() if dense is None else dense
  return behaviors_lib.Behaviors(
    tuple(names), *dense[0].shape, tuple(seen(mask) for mask in dense)
  )


def edges(dense=None):
  """(user, item) of every behavior."""
  return behavior_feeds.edges(behaviors(dense))


def prepared(users=None, dtype='float32') -> types.Nodes:
  """What a head prepares, of all users or some."""
  graphs = [graph_lib.bipartite(one, USERS, ITEMS) for one in edges()]
  return behavior_heads.nodes(graphs, USERS, users, dtype)


def config(variant: str = 'copf', **changes) -> config_lib.Config:
  """A variant at this size; `head__alpha=1.0` changes head.alpha."""
  made = copf.preset('synthetic-behaviors', variant)
  made.model.width = WIDTH
  made.train.batch_size = 4
  made.behavior.samples = 3
  return configured.by(base=made, **changes)


def system(made: config_lib.Config, dense=None):
  """(model, context, parameters of a size that scores tell apart)."""
  dense = masks() if dense is None else dense
  shape = dense[0].shape
  model = multi_behavior.make(made, len(dense), *shape)
  context = model.context(edges(dense))
  return (
    model,
    context,
    random_like(jax.eval_shape(model.init, jax.random.key(0))),
  )


def nodes(width: int = WIDTH) -> np.ndarray:
  """Embeddings of all nodes, f64[n, D]."""
  return np.random.default_rng(5).normal(size=(NODES, width))


def fusion(make, dense=None, **changes):
  """(fusion that `make` gives for the log, parameters, what it is given)."""
  dense = masks() if dense is None else dense
  shape = dense[0].shape
  made = make(
    config(**changes), types.NodeSizes(len(dense), *shape, nodes().shape[1])
  )
  net = random_like(jax.eval_shape(made.init, jax.random.key(0)))
  return made, net, made.context(graph_lib.make_edges(edges(dense), *shape))


def encode(make, start=None, net=None, dense=None, **changes):
  """(tables of the behaviors, f32[n, D'] each; the rest), not compiled."""
  made, drawn, context = fusion(make, dense, **changes)
  start = jnp.asarray(nodes() if start is None else start, jnp.float32)
  fused = made.encode(drawn if net is None else net, start, context)
  return [np.asarray(table) for table in fused.behaviors], fused.extra


def random_like(tree, scale: float = 0.3, seed: int = 0):
  """Normal numbers in the shape of a tree."""
  generator = np.random.default_rng(seed)
  draw = lambda leaf: (scale * generator.normal(size=leaf.shape)).astype('f4')
  return jax.device_put(jax.tree.map(draw, tree))


def tables(count: int = 3, seed: int = 1) -> list[jax.Array]:
  """Representations of all nodes, as leaves."""
  generator = np.random.default_rng(seed)
  shape = (NODES, WIDTH)
  draw = lambda: generator.normal(size=shape).astype('f4')
  return jax.device_put([draw() for _ in range(count)])


def pairs(slot, positive, negative, weight) -> pairs_lib.Pairs:
  """Pairs from lists; `negative` has one item a pair, or several."""
  slot, positive, negative = (
    np.asarray(x, 'i4') for x in (slot, positive, negative)
  )
  negative = negative.reshape(len(slot), -1 if len(slot) else 1)
  weight = np.asarray(weight, 'f4')
  return jax.device_put(pairs_lib.Pairs(slot, positive, negative, weight))


def batch(
  places: int = 5, negatives: int = 1, **more
) -> behavior_objectives.Batch:
  """Users 3, 0, 2 and a filling one, with random pairs and a filling place."""
  generator = np.random.default_rng(2)
  draw = lambda low, high, *more: generator.integers(low, high, (places, *more))
  users = np.array([3, 0, 2, -1])
  own = tuple(
    pairs(
      np.sort(draw(0, 3)),
      draw(1, ITEMS + 1),
      draw(1, ITEMS + 1, negatives),
      np.arange(places) < places - 1 - (k == 0),
    )
    for k in range(3)
  )
  group = jax.device_put((np.maximum(users, 0) % 2).astype('i4'))
  return behavior_objectives.Batch(
    jax.device_put(users.astype('i4')), group, own, **more
  )


def adjacency(mask: np.ndarray) -> np.ndarray:
  """[[0, B], [B', 0]], f64[n, n]."""
  users, items = mask.shape
  zeros = np.zeros
  return np.block(
    [[zeros((users, users)), mask], [mask.T, zeros((items, items))]]
  ).astype(np.float64)


def normalize(matrix: np.ndarray, how: str) -> np.ndarray:
  """D^-1 A and its relatives; the row of an idle node is 0."""
  degree = matrix.sum(1)
  power = -0.5 if how == 'symmetric' else -1.0
  inverse = np.array([d**power if d else 0.0 for d in degree])
  if how == 'none':
    return matrix
  if how != 'right':
    matrix = inverse[:, None] * matrix
  return matrix if how == 'left' else matrix * inverse
