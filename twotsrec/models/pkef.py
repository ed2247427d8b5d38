"""PKEF: a cascade that takes in what behaviors say alone (CIKM 2023).

    Pa^{k,l+1} = P_k Pa^{k,l} + Pa^{k,l},    Pa^{k,0} = E
    m = P_k E^{k,l},    E^{k,l+1} = m + E^{k,l} + .3 proj(Pa^{k,l+1} -> m)
    E^{k+1,0} = E^{k,0} + E^{k,L_k}

P_k is the left normalization of the graph of behavior k and proj(x -> y) the
part of x along y; tables are sums of the layers. The parallel tables, sums of
the Pa^{k,l}, are `extra['parallel']`, which an auxiliary loss of that name
trains. Equations as in the authors' program (MC-CV/PKEF).
"""

from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.models import cascade
from twotsrec.models import experts

_SHARE = 0.3  # of the projection, authors


def make(
  config: config_lib.Config, sizes: types.NodeSizes, share: float = _SHARE
) -> types.Fusion:
  """The fusion; nothing is trained but the embeddings of the nodes.

  Args:
    config: settings of a run.
    sizes: of the log.
    share: factor of what is taken over from the parallel layers; with 0 this is
      COGCN with own graphs.
  Raises:
    types.UserError: another number of layers than of behaviors.
  """
  options = config.fusion
  depths = cascade.depths(options, sizes.num_behaviors)
  walk = cascade.walk(options)

  def encode(net, nodes, graphs, *, key=None):
    del net, key  # nothing to train, no dropout
    alone = [
      cascade.stack(nodes, depth, lambda _, x, own=graph: walk(own, x) + x)
      for graph, depth in zip(graphs, depths, strict=True)
    ]

    def layer(k, at, x):
      message = walk(graphs[k], x)
      taken = experts.project(alone[k][at + 1], message)
      return message + x + share * taken

    carry = lambda k, layers, table: layers[0] + layers[-1]
    tables = cascade.run(nodes, depths, layer, cascade.total, carry)
    parallel = tuple(cascade.total(layers) for layers in alone)
    return cascade.fused(tables, options, {'parallel': parallel})

  made = cascade.of_own_graphs(
    options, sizes.width, lambda key: {}, encode, 'left'
  )
  return made._replace(extra=('parallel',))
