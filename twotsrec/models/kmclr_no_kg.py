"""KMCLR without its knowledge graph: CML beside LightGCN (WSDM 2023).

    table = (1 - beta) CML(E) + beta LightGCN(F; target),    beta = .1

E and F are the two halves of the columns of the embeddings, so `model.width` is
2 D here, 64 for the 32 of the authors. In training the walks of LightGCN have
three times lost edges: .3 of them for the table, .4 each for two views, which
the loss 'augmented' (`objectives.auxiliaries`) draws together; 'view' does so
for the behaviors of CML. Form as in the authors' program (xuanhongrui/KMCLR).

Departure: COPF's data have no knowledge graph, and the name says so. Items of
LightGCN are embeddings, not read out of entities. Edges of the views are kept
with probability .6 each, where theirs is from .6 to 1 by how little an item
moves when its entities do, and views are drawn anew in every step.
Departure: the program trains LightGCN by a ranking loss of its own and takes
its tables as given. Here one loss trains both through the table.
"""

import jax
import jax.numpy as jnp

from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.models import cascade
from twotsrec.models import cml
from twotsrec.models import gnmr
from twotsrec.ops import links as links_lib

_LAYERS = 3  # authors, as are
_DROPPED = 0.3
_VIEW_DROPPED = 0.4


def make(config: config_lib.Config, sizes: types.NodeSizes) -> types.Fusion:
  """The fusion; its net is that of `cml.make` at half the width.

  Raises:
    types.UserError: an odd width, or as `cml.make`.
  """
  width, options = gnmr.halved(config, sizes), config.fusion
  encoder = cml.make(config, sizes._replace(width=width))
  share, walk = options.branch_weight, cascade.walk(options)

  def context(edges):
    target = len(edges.pairs) - 1
    links = links_lib.from_pairs(
      edges.pairs[target:], edges.num_users, edges.num_items
    )
    return {
      'encoder': encoder.context(edges),
      'target': edges.graph([target], 'symmetric'),
      'links': links,
    }

  def encode(net, nodes, given, *, key=None):
    own, branch = jnp.split(nodes, 2, axis=1)
    fused = encoder.encode(net, own, given['encoder'])
    walks = _walks(given, walk, key)
    light, *views = [_light(one, branch) for one in walks]
    table = (1.0 - share) * fused.behaviors[0] + share * light
    extra = {**fused.extra, 'augmented': tuple(views)}
    return types.Fused((table,) * sizes.num_behaviors, extra)

  return types.Fusion(
    init=encoder.init,
    context=context,
    encode=encode,
    width=width,
    merged=True,
    reads=(*cml.READS, 'branch_weight'),
    extra=(*encoder.extra, 'augmented'),
    least_behaviors=2,
  )


def _light(walk, x):
  return cascade.mean(cascade.stack(x, _LAYERS, lambda _, last: walk(last)))


def _walks(given, walk, key):
  """Products with the target's graph: of the table, and of two views."""
  if key is None:
    return [lambda x: walk(given['target'], x)] * 3
  table, *views = jax.random.split(key, 3)
  links = given['links']
  kept = links_lib.drop(links, table, _DROPPED) / (1.0 - _DROPPED)
  scale = given['target'].left[:, None]
  walks = [lambda x: scale * links_lib.weigh(links, kept, scale * x)]
  for own in views:
    weights = links_lib.drop(links, own, _VIEW_DROPPED)
    # A view is a graph of its own, with degrees of what is left.
    degree = links_lib.weigh(links, weights, jnp.ones((links.num_nodes, 1)))
    some = degree > 0
    root = jnp.where(some, jnp.where(some, degree, 1.0) ** -0.5, 0.0)
    walks.append(
      lambda x, weights=weights, root=root: (
        root * links_lib.weigh(links, weights, root * x)
      )
    )
  return walks
