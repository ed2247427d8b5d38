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

PRE = ('all', 'nearest', 'none')
IN = ('upstream', 'own', 'all')
OPERATORS = ('merged', 'summed', 'union')
POST = ('decoupled', 'merged')
COMBINES = ('sum', 'mean')


def make(config: config_lib.Config, sizes: types.NodeSizes) -> types.Fusion:
  """COGCN and its relatives, by the settings under `fusion`.

  A layer is P x, plus x with `self_loop`. Nothing is trained but the
  embeddings of the nodes. With post_behavior 'merged' all behaviors have the
  sum of the tables.

  Raises:
    types.UserError: as `check`.
  Reference: COPF eq. 4-7; the operator 'merged' and its single "+ I" are the
    authors' code.
  """
  options = config.fusion
  check(options, sizes.num_behaviors)

  def encode(net, nodes, context, *, key=None):
    del net, key  # nothing to train, no dropout
    return types.Fused(_encode(nodes, context, options))

  return types.Fusion(
    init=lambda key: {},
    context=lambda edges: _walks(edges, options),
    encode=encode,
    width=sizes.width,
    merged=options.post_behavior == 'merged',
  )


def check(options: config_lib.FusionConfig, num_behaviors: int) -> None:
  """Refuses settings that name nothing.

  Raises:
    types.UserError: an unknown value, or another number of layers.
  """
  for name, allowed in (
    ('pre_behavior', PRE),
    ('in_behavior', IN),
    ('operator', OPERATORS),
    ('post_behavior', POST),
    ('normalization', graph_lib.NORMALIZATIONS),
    ('combine', COMBINES),
    ('product_dtype', ('float32', 'bfloat16')),
  ):
    value = getattr(options, name)
    if value not in allowed:
      raise types.UserError(
        f'fusion.{name} {value!r}; known: {", ".join(allowed)}'
      )
  layers = options.num_layers
  if layers and len(layers) != num_behaviors:
    raise types.UserError(
      f'fusion.num_layers has {len(layers)} numbers, but there are'
      f' {num_behaviors} behaviors; give one for each, or none for 1 each'
    )
  if min(layers, default=1) < 0:
    raise types.UserError(
      f'fusion.num_layers is {layers}; allowed are 0 and more'
    )


def _walks(edges, options):
  """The graphs each behavior walks.

  For each behavior those whose products are summed: one, or with the operator
  'summed' one for each behavior walked (COPF eq. 5).
  """
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
    depth = options.num_layers[k] if options.num_layers else 1
    layers = _convolve(walked, start, depth, options)
    outputs.append(_combine(layers, options.combine))
    start = _carry(nodes, start, layers[-1], options)
  if options.post_behavior == 'merged':
    return (jnp.asarray(sum(outputs)),) * len(outputs)
  return tuple(outputs)


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
