"""Losses that draw tables of one node together, and BCIPM's preferences.

They read what a fusion gives beside its tables (`types.Fused.extra`);
`auxiliaries` names them and weighs them.

Departure: S-MBRec and KMCLR tell a node from others of its batch, and KMCLR
leaves its own pair out of them. Here it is told from all nodes of its side, its
own among them, as in COPF eq. 8.
Departure: CML takes a tenth of a batch's users as anchors. Here it is all.
Departure: BCIPM draws negatives outside of all behaviors of a user. Here they
are outside of the pair's own.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from twotsrec import config as config_lib
from twotsrec import losses
from twotsrec.models import bcipm
from twotsrec.objectives import behaviors as behavior_objectives
from twotsrec.ops import contrastive
from twotsrec.ops import pairs as pairs_lib


class Anchors(NamedTuple):
  """Distinct nodes of a side whose losses are summed.

  Attributes:
    ids: i32[P], rows of the side.
    weights: f32[P], 0 for filling.
  """

  ids: jax.Array
  weights: jax.Array


def between(
  anchors: Anchors,
  one: jax.Array,
  other: jax.Array,
  options: config_lib.BehaviorConfig,
) -> jax.Array:
  """Weighted sum of InfoNCE losses of rows of `one` against all of `other`.

  Args:
    anchors: whose row in both tables is the pair.
    one: f32[N, D].
    other: f32[N, D].
    options: temperature and similarity.
  """
  return jnp.asarray(
    contrastive.info_nce(
      one[anchors.ids],
      anchors.weights,
      anchors.ids,
      other,
      options.temperature,
      options.similarity,
    )
  )


def star(
  anchors: Anchors,
  alike: jax.Array,
  target: jax.Array,
  other: jax.Array,
  options: config_lib.BehaviorConfig,
) -> jax.Array:
  """`between`, where a node's pair is any node of its star, f32[].

      sum_i w_i (logsumexp_j s(a_i, t_j) - logsumexp_{j in S(i)} s(a_i, t_j))

  Args:
    anchors: rows i.
    alike: i32[N, M], rows like each row, -1 for filling; S(i) are these and i.
    target: f32[N, D], of the anchors a.
    other: f32[N, D], t.
    options: temperature and similarity.
  Reference: S-MBRec (IJCAI 2022). Without a row alike it is COPF eq. 8.
  """
  ids, weights = anchors
  compared = lambda x: contrastive.directions(x, options.similarity)[0]
  center = compared(target[ids])
  members = jnp.concatenate([ids[:, None], alike[ids]], axis=1)
  ends = compared(other[jnp.maximum(members, 0)])
  logits = jnp.einsum('pd,pmd->pm', center, ends) / options.temperature
  inside = jnp.where(members >= 0, logits, -jnp.inf)
  gain = logits[:, 0] - jax.nn.logsumexp(inside, axis=1)
  return between(anchors, target, other, options) + jnp.dot(weights, gain)


def view_losses(
  views: Sequence[jax.Array], users: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Losses that tell a user's table of the target by those of a behavior.

      -log(exp(<t_u, x_uk> / D) / sum_{v != u} exp(<t_u, x_vk> / D))

  Args:
    views: K times f32[n, D], the target last.
    users: i32[B], of the batch, -1 for filling; v runs over the others.
  Returns:
    (losses f32[K, B], weights f32[B]), 0 for filling and where no other user
    is.
  Reference: CML (WSDM 2022), authors' code; the target is compared with itself
    too.
  """
  rows = jnp.stack([view[jnp.maximum(users, 0)] for view in views])
  logits = jnp.einsum('ud,kvd->kuv', rows[-1], rows) / rows.shape[-1]
  there = users >= 0
  others = there[None, :] & ~jnp.eye(len(users), dtype=bool)
  some = there & jnp.any(others, axis=1)
  # Of filling, a logit of its own keeps the sum above 0.
  kept = others | (~some[:, None] & jnp.eye(len(users), dtype=bool))
  total = jax.nn.logsumexp(jnp.where(kept, logits, -jnp.inf), axis=2)
  own = jnp.diagonal(logits, axis1=1, axis2=2)
  return jnp.where(some, total - own, 0.0), some.astype(jnp.float32)


def preferences(
  contextual: bcipm.Contextual,
  batch: behavior_objectives.Batch,
  num_users: int,
) -> jax.Array:
  """Mean cross-entropy of <pref(u, i, k), G_i> over pairs of all behaviors.

  Args:
    contextual: of `models.bcipm`.
    batch: observed items and their negatives.
    num_users: U.
  Reference: BCIPM (SIGIR 2024).
  """
  total = count = jnp.zeros(())
  for behavior, pairs in enumerate(batch.pairs):
    items = num_users + pairs_lib.candidates(pairs) - 1
    users = jnp.maximum(batch.users[pairs.slot], 0)[:, None]
    users = jnp.broadcast_to(users, items.shape)
    flat = users.reshape(-1), items.reshape(-1)
    found = bcipm.preference(contextual, *flat, behavior)
    logits = jnp.sum(found * contextual.table[flat[1]], axis=1)
    values = losses.candidate_bce_loss(logits.reshape(items.shape))
    total += jnp.dot(pairs.weight, values)
    count += jnp.sum(pairs.weight)
  return total / jnp.maximum(count, 1.0)
