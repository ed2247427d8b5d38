"""CascadingRank: walks from a user through view, cart and purchase.

Nothing is trained. Ko, Jeon and Jung 2025 (arXiv 2502.11335). In behavior k the
ranks of all nodes for one user u solve

    r_k = gamma S_k r_k + alpha q_k + beta r_{k-1},   gamma = 1 - alpha - beta

with S_k = D^-1/2 A_k D^-1/2 the graph of the behavior and q_k the user with the
user's items, which share 1: q_k = e_u + A_k D^-1 e_u. Before the first behavior
r_0 = q_1. It is iterated from r_k = q_k, and what the items have after the
target is their score. alpha holds on to what the user did, beta to the behavior
before, gamma lets neighbors agree.

Departure: the authors stop a batch of 1,024 users when the mean change of its
users is within the tolerance. Here every user stops alone, because scores must
not depend on who else is in a tile.
"""

import functools
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.ops import graph as graph_lib
from twotsrec.ops import rows as rows_ops

# Users whose columns are walked together: as many as stay in a core's cache,
# .6 of the time of 256 on taobao-copf.
_USERS = 64


class Cascade(NamedTuple):
  """What is walked.

  Attributes:
    graphs: S_k of every behavior, the target last.
    alpha: f32[], weight of the user's own items.
    beta: f32[], weight of the behavior before.
    tolerance: f32[], sum of changes at which a user stops.
    max_steps: i32[], at which everybody does.
  """

  graphs: tuple[graph_lib.Graph, ...]
  alpha: jax.Array
  beta: jax.Array
  tolerance: jax.Array
  max_steps: jax.Array


def check(options: config_lib.CascadeConfig) -> None:
  """Refuses weights that leave nothing of the user, or more than there is.

  Raises:
    types.UserError: the sum of alpha and beta, and what it may be.
  """
  total = options.alpha + options.beta
  if not 0 < total <= 1:
    raise types.UserError(
      f'cascade.alpha {options.alpha} and cascade.beta {options.beta} must sum'
      ' to more than 0 and at most 1; neighbors have the rest'
    )


def make(
  edges: graph_lib.Edges, options: config_lib.CascadeConfig
) -> tuple[types.Model, types.Params, Cascade]:
  """The scorer of known users, its parameters, and its context.

  Nothing is trained: parameters are the ids of the items.

  Args:
    edges: training pairs of every behavior, the target last.
    options: alpha, beta and when to stop.
  """
  number = len(edges.pairs)
  graphs = tuple(edges.graph([k], 'symmetric') for k in range(number))
  as_f32 = functools.partial(jnp.asarray, dtype=jnp.float32)
  cascade = Cascade(
    graphs=graphs,
    alpha=as_f32(options.alpha),
    beta=as_f32(options.beta),
    tolerance=as_f32(options.tolerance),
    max_steps=jnp.asarray(options.max_steps, jnp.int32),
  )
  ids = jnp.arange(edges.num_items + 1, dtype=jnp.int32)
  model = make_model(edges.num_users)
  return model, types.Params({'item': {'id': ids}}, {}), cascade


@functools.cache  # one model, one set of programs
def make_model(num_users: int) -> types.Model:
  """The scorer, whose context is a `Cascade`; to nobody, -1, all is 0."""

  def init(key, context, sizes):
    del key, context
    ids = jnp.arange(sizes.num_items + 1, dtype=jnp.int32)
    return types.Params({'item': {'id': ids}}, {})

  def encode(net, rows, context, inputs, *, key=None):
    del net, rows, key
    users = inputs['user']
    padded = jnp.pad(users, (0, -len(users) % _USERS), constant_values=-1)
    of_block = lambda block: ranks(context, block)[num_users:].T
    found = jax.lax.map(of_block, padded.reshape(-1, _USERS))
    found = found.reshape(len(padded), -1)[: len(users)]
    return jnp.pad(found, ((0, 0), (1, 0)))

  def score(net, encoded, candidate_rows, *, key=None):
    del net, key
    return rows_ops.of_candidates(encoded, candidate_rows['id'])

  return types.Model(init, encode, score)


def ranks(cascade: Cascade, users: jax.Array) -> jax.Array:
  """r of the target for users i32[B], f32[n, B]."""
  chex.assert_rank(users, 1)
  num_nodes = cascade.graphs[0].num_nodes
  column = jnp.arange(len(users))
  known = jnp.where(users >= 0, 1.0, 0.0)
  blank = jnp.zeros((num_nodes, len(users)), jnp.float32)
  own = blank.at[jnp.maximum(users, 0), column].set(known)
  found = _query(cascade.graphs[0], own)
  for graph in cascade.graphs:
    found = _settled(cascade, graph, _query(graph, own), found)
  return found


def _query(graph, own):
  """q_k of users e_u, by A D^-1 of the graph D^-1/2 A D^-1/2."""
  items = graph._replace(left=None, right=graph.left**2)
  return jnp.add(own, graph_lib.propagate(items, own))


def _settled(cascade, graph, query, before):
  """r_k from q_k and r_{k-1}; a column that has settled stays as it is."""
  gamma = 1.0 - cascade.alpha - cascade.beta
  given = cascade.alpha * query + cascade.beta * before

  def moves(state):
    _, change, step = state
    return jnp.any(change > cascade.tolerance) & (step < cascade.max_steps)

  def move(state):
    found, change, step = state
    moved = gamma * graph_lib.propagate(graph, found) + given
    moved = jnp.where(change > cascade.tolerance, moved, found)
    return moved, jnp.sum(jnp.abs(moved - found), axis=0), step + 1

  change = jnp.full(query.shape[1], jnp.inf)
  return jax.lax.while_loop(moves, move, (query, change, 0))[0]
