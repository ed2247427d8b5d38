"""COGCN: one representation of every node for every behavior (COPF sec. 4.2).

Behaviors are ordered upstream to downstream, the target last. Constraints act
before a behavior (what flows in), inside (which graphs are walked) and after
(an output of its own). LightGCN per behavior is the same loop with nothing
carried over, own graphs, symmetric normalization and the mean of the layers.
"""

import jax.numpy as jnp

from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.ops import graph as graph_lib

# Settings under `fusion` that it reads.
READS = (
  'num_layers', 'pre_behavior', 'keep_initial', 'in_behavior', 'operator',
  'post_behavior', 'normalization', 'self_loop', 'combine', 'product_dtype',
)  # fmt: skip


def make(config: config_lib.Config, sizes: types.NodeSizes) -> types.Fusion:
  """COGCN and its relatives, by the settings under `fusion`.

  A layer is P x, plus x with `self_loop`. Nothing is trained but the
  embeddings of the nodes. With post_behavior 'merged' all behaviors have the
  sum of the tables.

  Raises:
    types.UserError: another number of layers than of behaviors.
  Reference: COPF eq. 4-7; the operator 'merged' and its single "+ I" are the
    authors' code.
  """
  options, layers = config.fusion, config.fusion.num_layers
  if layers and len(layers) != sizes.num_behaviors:
    raise types.UserError(
      f'fusion.num_layers has {len(layers)} numbers, but there are'
      f' {sizes.num_behaviors} behaviors; give one for each, or none for 1 each'
    )

  def encode(net, nodes, context, *, key=None):
    del net, key  # nothing to train, no dropout
    return types.Fused(_encode(nodes, context, options))

  return types.Fusion(
    init=lambda key: {},
    context=lambda edges: _walks(edges, options),
    encode=encode,
    width=sizes.width,
    merged=options.post_behavior == 'merged',
    reads=READS,
  )


def _walks(edges, options):
  """Graphs of each behavior whose products are summed (COPF eq. 5)."""
  number = len(edges.pairs)
  merge = 'union' if options.operator == 'union' else 'merged'
  graph = lambda *members: edges.graph(members, options.normalization, merge)

  def walks(members):
    if options.operator == 'summed':
      return tuple(graph(j) for j in members)
    return (graph(*members),)

  if options.in_behavior == 'all':
    return (walks(range(number)),) * number
  if options.in_behavior == 'own':
    return tuple(walks([k]) for k in range(number))
  return tuple(walks(range(k + 1)) for k in range(number))


def _encode(nodes, graphs, options):
  """Representations e^{k,*} of all nodes, K times f32[n, D]."""
  outputs, start = [], nodes
  for k, walked in enumerate(graphs):
    if k and _stands_for_all(options):
      outputs += outputs[:1]
      continue
    depth = options.num_layers[k] if options.num_layers else 1
    layers = _convolve(walked, start, depth, options)
    outputs.append(_combine(layers, options.combine))
    start = _carry(nodes, start, layers[-1], options)
  if options.post_behavior == 'merged':
    return (jnp.asarray(sum(outputs)),) * len(outputs)
  return tuple(outputs)


def _stands_for_all(options):
  """Whether every behavior walks the same graph from the same start.

  COPF-F, of the same kind with the operator 'merged', is walked once for each
  behavior, as it always was: its results keep their bits.
  """
  one_graph = options.in_behavior == 'all' and options.operator == 'union'
  same_depth = len(set(options.num_layers)) < 2
  return one_graph and same_depth and options.pre_behavior == 'none'


def _convolve(graphs, start, depth, options):
  """Layers 0..depth of one behavior."""
  dtype = jnp.dtype(options.product_dtype)
  # Eq. 5 adds I once for each graph it sums over.
  residual = len(graphs) if options.self_loop else 0
  layers = [start]
  for _ in range(depth):
    last = layers[-1]
    walked = sum(graph_lib.propagate(g, last, dtype) for g in graphs)
    layers.append(walked + residual * last if residual else walked)
  return layers


def _combine(layers, how):
  total = sum(layers)
  return total / len(layers) if how == 'mean' else total


def _carry(nodes, start, last, options):
  """Start of the next behavior (COPF eq. 6)."""
  if options.pre_behavior == 'all':
    return start + last
  if options.pre_behavior == 'nearest':
    return last + nodes if options.keep_initial else last
  return nodes
