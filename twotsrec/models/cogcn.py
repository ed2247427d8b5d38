"""COGCN: one representation of every node for every behavior (COPF sec. 4.2).

Behaviors are ordered upstream to downstream, the target last. Constraints act
before a behavior (what flows in), inside (which graphs are walked) and after
(an output of its own). LightGCN per behavior is the same loop with nothing
carried over, own graphs, symmetric normalization and the mean of the layers.
"""

from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.models import cascade

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
  options = config.fusion
  depths = cascade.depths(options, sizes.num_behaviors)
  combine = cascade.mean if options.combine == 'mean' else cascade.total
  times = len(depths) if _same_for_all(options, depths) else 1

  def encode(net, nodes, context, *, key=None):
    del net, key  # nothing to train, no dropout
    layer = _make_layer(context, options)
    carry = lambda k, layers, table: _carry(nodes, layers, options)
    walked = depths[: len(depths) // times]
    tables = cascade.run(nodes, walked, layer, combine, carry)
    return cascade.fused(tables * times, options)

  merged = options.post_behavior == 'merged'
  return types.Fusion(
    init=lambda key: {},
    context=lambda edges: _walks(edges, options),
    encode=encode,
    width=sizes.width,
    merged=merged,
    reads=READS,
    upstream_only=not merged and options.in_behavior != 'all',
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


def _same_for_all(options, depths):
  """Whether every behavior walks the same graph from the same start.

  COPF-F, of the same kind with the operator 'merged', is walked once for each
  behavior, as it always was: its results keep their bits.
  """
  one_graph = options.in_behavior == 'all' and options.operator == 'union'
  return one_graph and len({*depths}) == 1 and options.pre_behavior == 'none'


def _make_layer(graphs, options):
  """(behavior, layer, x) -> the next layer (COPF eq. 5)."""
  walk = cascade.walk(options)

  def layer(k, at, x):
    del at
    # Eq. 5 adds I once for each graph it sums over.
    residual = len(graphs[k]) if options.self_loop else 0
    walked = cascade.total([walk(graph, x) for graph in graphs[k]])
    return walked + residual * x if residual else walked

  return layer


def _carry(nodes, layers, options):
  """Start of the next behavior (COPF eq. 6)."""
  start, last = layers[0], layers[-1]
  if options.pre_behavior == 'all':
    return start + last
  if options.pre_behavior == 'nearest':
    return last + nodes if options.keep_initial else last
  return nodes
