"""The light plugin: a bottleneck at two points of the trunk (PIN eq. 12-13).

Point A lies between the embedding and the extractor, point Z between the
extractor and the classifier. `at_points` puts any function of a vector there.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from twotsrec import config
from twotsrec import types
from twotsrec.models import layers

_ACTIVATIONS = {'tanh': jnp.tanh, 'relu': jax.nn.relu}
_SMALL = 1e-3  # the authors' Xavier gain


class Plug(NamedTuple):
  """A network from a vector to a vector of the same width.

  Attributes:
    init: (key, width) -> parameters of one group.
    apply: (plugs, weights, x) -> like x; plugs with leaves [K, ...], weights
      f32[K], x f32[..., width]. Weights of 0 leave x as it is.
  """

  init: Callable[[jax.Array, int], types.PyTree]
  apply: Callable[[types.PyTree, jax.Array, jax.Array], jax.Array]


def widths(
  stages: types.Stages, trunk: types.Params, sizes: types.Sizes
) -> dict[str, int]:
  """Width of the vectors at each point: {'A': D, 'Z': d}; nothing is run."""
  table = trunk.tables['item']

  def rows(*shape):
    struct = lambda t: jax.ShapeDtypeStruct((*shape, *t.shape[1:]), t.dtype)
    return jax.tree.map(struct, table)

  def features(net, history, history_rows, candidate_rows):
    inputs = {'history': history, 'user': history[:, 0]}
    embedded = stages.embed(net['embed'], history_rows, inputs)
    summary = stages.summarize(net['extractor'], embedded, history > 0)
    return stages.extract(net['extractor'], summary, candidate_rows)

  length = sizes.history_length
  history = jax.ShapeDtypeStruct((1, length), jnp.int32)
  shapes = jax.eval_shape(
    features, trunk.net, history, rows(1, length), rows(1, 1)
  )
  return {'A': table['embedding'].shape[-1], 'Z': shapes.plugged.shape[-1]}


def at_points(plug: Plug, points: str, history_only: bool) -> types.Plugin:
  """The plugin {point: plug}, each point with parameters of its own.

  A acts on the embedded history, as the trunk embeds it (with positions, if it
  has them), and on the candidates' embeddings, with one set of parameters for
  both; padding stays what it was. Z acts on `Features.plugged`.

  Args:
    plug: the network.
    points: 'A', 'Z' or 'AZ'.
    history_only: A leaves the candidates alone.
  Raises:
    types.UserError: `history_only` without A.
  """
  if history_only and 'A' not in points:
    raise types.UserError(
      f'plugin.history_only is True, but plugin.points={points} leaves the '
      'history alone too; use A or AZ'
    )

  def init(key, stages, trunk, num_groups, sizes):
    width = widths(stages, trunk, sizes)

    def init_group(group_key):
      keys = dict(zip('AZ', jax.random.split(group_key), strict=True))
      return {point: plug.init(keys[point], width[point]) for point in points}

    return jax.vmap(init_group)(jax.random.split(key, num_groups))

  def attach(stages, plugins, weights):
    apply = lambda point, x: plug.apply(plugins[point], weights, x)

    def embed(net, rows, inputs):
      embedded = stages.embed(net, rows, inputs)
      real = inputs['history'] > 0
      return jnp.where(real[..., None], apply('A', embedded), embedded)

    def embedded_candidates(candidate_rows):
      if 'A' not in points or history_only:
        return candidate_rows
      vectors = apply('A', candidate_rows['embedding'])
      return {**candidate_rows, 'embedding': vectors}

    def extract(extractor, summary, candidate_rows):
      candidate_rows = embedded_candidates(candidate_rows)
      features = stages.extract(extractor, summary, candidate_rows)
      if 'Z' not in points:
        return features
      return features._replace(plugged=apply('Z', features.plugged))

    def attention(extractor, summary, candidate_rows):
      candidate_rows = embedded_candidates(candidate_rows)
      return stages.attention(extractor, summary, candidate_rows)

    return stages._replace(
      embed=embed if 'A' in points else stages.embed,
      extract=extract,
      attention=attention if stages.attention else None,
    )

  return types.Plugin(init, attach)


def bottleneck(
  ratio: float = 0.5,
  activation: str = 'tanh',
  init: str = 'identity',
  post_activation: bool = False,
) -> Plug:
  """A residual bottleneck, blended over K of them by their weights.

      y = x + sum_k w_k (act(x V_k + a_k) Q_k + c_k)            (PIN eq. 12-13)

  V is Xavier-uniform, a, Q and c start at 0: y = x, and Q moves first. The
  authors' later code starts both layers Xavier-uniform with gain 1e-3
  (`init='small'`) and activates once more (`post_activation`),

      y = (1 - sum_k w_k) x + sum_k w_k act(x + act(x V_k + a_k) Q_k + c_k)

  which is not the identity at the start.

  Departure: PIN says "insert plugins" and not how they start. Here their output
  is zero at first, so that stage 2 starts exactly at stage 1 and the loss does
  not jump.

  Args:
    ratio: hidden width over the width d of x; h = floor(ratio d).
    activation: 'tanh' or 'relu'.
    init: 'identity' or 'small'.
    post_activation: the authors' form.
  """
  act = _ACTIVATIONS[activation]
  down_gain, up_gain = (1.0, 0.0) if init == 'identity' else (_SMALL, _SMALL)

  def init_plug(key, width):
    hidden = int(width * ratio)
    if hidden < 1:
      raise types.UserError(
        f'plugin.ratio is {ratio}, which leaves a vector of width {width} no '
        f'hidden unit; it must be at least {1 / width:.3g}'
      )
    down_key, up_key = jax.random.split(key)
    down = layers.init_dense(down_key, width, hidden, bias=False)['kernel']
    up = layers.init_dense(up_key, hidden, width, bias=False)['kernel']
    return {
      'V': down_gain * down,
      'a': jnp.zeros(hidden),
      'Q': up_gain * up,
      'c': jnp.zeros(width),
    }

  def apply(plugs, weights, x):
    cast = lambda leaf: leaf.astype(x.dtype)
    rows = x.reshape(-1, x.shape[-1])  # one axis, as in `layers.dense`
    hidden = jnp.einsum('nd,kdh->nkh', rows, cast(plugs['V']))
    hidden = hidden.reshape(*x.shape[:-1], *hidden.shape[1:])
    hidden = act(hidden + cast(plugs['a']))
    if not post_activation:
      # K bottlenecks of h units are one of K h units.
      up = cast(weights[:, None, None] * plugs['Q'])
      offset = cast(jnp.sum(weights[:, None] * plugs['c'], axis=0))
      return x + (jnp.einsum('...kh,khd->...d', hidden, up) + offset)
    up = jnp.einsum('...kh,khd->...kd', hidden, cast(plugs['Q']))
    outputs = act(x[..., None, :] + up + cast(plugs['c']))
    rest = cast(1.0 - jnp.sum(weights))  # 0 for a user's own group
    return rest * x + jnp.sum(cast(weights)[:, None] * outputs, axis=-2)

  return Plug(init_plug, apply)


def make(options: config.PluginConfig) -> types.Plugin:
  """A bottleneck at every point."""
  form = options.activation, options.init, options.post_activation
  plug = bottleneck(options.ratio, *form)
  return at_points(plug, options.points, options.history_only)
