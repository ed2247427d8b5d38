"""A fusion on the small log of `behavior_toys`, and words of its algebra."""

from typing import Any, NamedTuple

import jax
import numpy as np

from tests import behavior_toys as toys
from twotsrec import types
from twotsrec.models import fusion as fusion_lib
from twotsrec.ops import graph as graph_lib

USERS, ITEMS = toys.USERS, toys.ITEMS
TARGET = 2


class Made(NamedTuple):
  """A fusion with parameters and context.

  Attributes:
    fusion: of the name.
    net: random parameters.
    nodes: random embeddings, f32[n, D].
    context: of the log.
  """

  fusion: types.Fusion
  net: Any
  nodes: np.ndarray
  context: Any

  def encode(self, key=None, **changes) -> types.Fused:
    """What the fusion makes of it, with other parameters if given."""
    given = self._replace(**changes)
    encode = jax.jit(self.fusion.encode)
    return encode(given.net, given.nodes, given.context, key=key)


def make(name: str, width: int = toys.WIDTH, dense=None, **settings) -> Made:
  """The fusion of that name; `num_layers=(2,)` is fusion.num_layers."""
  dense = toys.masks() if dense is None else dense
  users, items = dense[0].shape
  config = toys.config(
    **{f'fusion__{field}': value for field, value in settings.items()},
    fusion__name=name,
  )
  sizes = types.NodeSizes(len(dense), users, items, width)
  fusion = fusion_lib.make(config, sizes)
  net = toys.random_like(jax.eval_shape(fusion.init, jax.random.key(0)))
  draw = np.random.default_rng(7).normal
  nodes = draw(size=(users + items, width)).astype('f4')
  edges = graph_lib.make_edges(toys.edges(dense), users, items)
  return Made(fusion, net, nodes, fusion.context(edges))


def sides(table) -> tuple[np.ndarray, np.ndarray]:
  """Rows of the users and of the items, f64."""
  table = np.asarray(table, np.float64)
  return table[:USERS], table[USERS:]


def unit(x: np.ndarray) -> np.ndarray:
  """Rows of length 1, row by row."""
  lengths = [np.linalg.norm(row) for row in x]
  rows = [row / a if a else row for row, a in zip(x, lengths, strict=True)]
  return np.array(rows)


def softmax(logits: np.ndarray, axis: int) -> np.ndarray:
  """By its definition."""
  powers = np.exp(logits - logits.max(axis=axis, keepdims=True))
  return powers / powers.sum(axis=axis, keepdims=True)


def sigmoid(x: np.ndarray) -> np.ndarray:
  """By its definition."""
  return 1 / (1 + np.exp(-x))


def close(ours, theirs, tolerance: float = 2e-5) -> None:
  """Holds two tables together, by the size of the second."""
  ours, theirs = np.asarray(ours), np.asarray(theirs)
  size = np.abs(theirs).max()
  assert size > 0
  np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=tolerance * size)
