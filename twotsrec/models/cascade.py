"""One loop over ordered behaviors, of which several fusions are points.

    X^{k,l+1} = layer(k, l, X^{k,l})
    table_k   = combine(X^{k,0}, ..., X^{k,L_k})
    X^{k+1,0} = carry(k, layers, table_k)

COGCN, LightGCN per behavior, MB-CGCN, CRGCN, CIGF and the cascade of PKEF
differ in what a layer is, in how layers make a table, and in what flows on to
the next behavior.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.ops import graph as graph_lib

Table = jax.Array


def run(
  nodes: Table,
  depths: Sequence[int],
  layer: Callable[[int, int, Table], Table],
  combine: Callable[[Sequence[Table]], Table],
  carry: Callable[[int, Sequence[Table], Table], Table],
) -> tuple[Table, ...]:
  """Tables of all nodes, K times f32[n, D'].

  Args:
    nodes: f32[n, D], where the first behavior starts.
    depths: L_k, layers of each behavior.
    layer: (k, l, layer l) -> layer l + 1.
    combine: layers 0..L_k -> the table of their behavior.
    carry: (k, layers of k, table of k) -> where the next behavior starts.
  """
  tables: list[Table] = []
  start = nodes
  for k, depth in enumerate(depths):
    layers = stack(start, depth, lambda at, x, k=k: layer(k, at, x))
    tables.append(combine(layers))
    if k + 1 < len(depths):
      start = carry(k, layers, tables[-1])
  return tuple(tables)


def stack(
  start: Table, depth: int, layer: Callable[[int, Table], Table]
) -> list[Table]:
  """Layers 0..depth, each made of the one before by (l, layer l)."""
  layers = [start]
  for at in range(depth):
    layers.append(layer(at, layers[-1]))
  return layers


def mean(layers: Sequence[Table]) -> Table:
  """Mean of the layers (LightGCN's convention)."""
  return jnp.asarray(sum(layers) / len(layers))


def total(layers: Sequence[Table]) -> Table:
  """Sum of the layers (COPF eq. 7)."""
  return jnp.asarray(sum(layers))


def depths(
  options: config_lib.FusionConfig, num_behaviors: int
) -> tuple[int, ...]:
  """L_k of every behavior: 1 each by default, one for all, or one for each.

  Raises:
    types.UserError: another number of layers than of behaviors.
  """
  layers = tuple(options.num_layers) or (1,)
  if len(layers) == 1:
    return layers * num_behaviors
  if len(layers) != num_behaviors:
    raise types.UserError(
      f'fusion.num_layers has {len(layers)} numbers, but there are'
      f' {num_behaviors} behaviors; give one for each, one for all, or none for'
      ' 1 each'
    )
  return layers


def depth(options: config_lib.FusionConfig) -> int:
  """Layers of a fusion that walks all behaviors together, 1 by default.

  Raises:
    types.UserError: more than one number of layers.
  """
  layers = [*options.num_layers] or [1]
  if len(layers) > 1:
    raise types.UserError(
      f'fusion.name={options.name} walks all behaviors together, but'
      f' fusion.num_layers has {len(layers)} numbers; give one, or none for 1'
    )
  return layers[0]


def own_graphs(
  edges: graph_lib.Edges, normalization: str
) -> tuple[graph_lib.Graph, ...]:
  """The graph of every behavior alone."""
  return tuple(edges.graph([k], normalization) for k in range(len(edges.pairs)))


def of_own_graphs(
  options: config_lib.FusionConfig,
  width: int,
  init: Callable[[jax.Array], types.PyTree],
  encode: Callable[..., types.Fused],
  normalization: str,
) -> types.Fusion:
  """A fusion that walks the graph of every behavior alone, in their order.

  It reads layers, outputs and the type of products, and its later behaviors
  reach no earlier table unless the tables are merged.
  """
  merged = options.post_behavior == 'merged'
  return types.Fusion(
    init=init,
    context=lambda edges: own_graphs(edges, normalization),
    encode=encode,
    width=width,
    merged=merged,
    reads=('num_layers', 'post_behavior', 'product_dtype'),
    upstream_only=not merged,
  )


def walk(
  options: config_lib.FusionConfig,
) -> Callable[[graph_lib.Graph, Table], Table]:
  """The product with a graph, in the type that `product_dtype` names."""
  dtype = jnp.dtype(options.product_dtype)
  return lambda graph, x: graph_lib.propagate(graph, x, dtype)


def fused(
  tables: Sequence[Table],
  options: config_lib.FusionConfig,
  extra: types.PyTree = (),
) -> types.Fused:
  """What `types.Fusion.encode` gives: the tables, or their sum for all."""
  if options.post_behavior == 'merged':
    tables = (total(tables),) * len(tables)
  return types.Fused(tuple(tables), extra)
