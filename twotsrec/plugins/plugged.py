"""A model with its plugins: an example is scored by those it is routed to.

The route comes in `inputs['route']`, a `types.Route`.
"""

from typing import Any, NamedTuple

import chex
import jax

from twotsrec import types
from twotsrec.models import stages as stages_lib
from twotsrec.ops import rows as rows_ops


class Encoded(NamedTuple):
  """Encoding of a plugged model: that of the trunk, and the route.

  Attributes:
    route: leaves [B, K], or [K] if all examples share the plugins.
    inner: leaves [B, ...].
  """

  route: types.Route
  inner: types.PyTree


def join(trunk: types.Params, plugins: types.PyTree) -> types.Params:
  """Parameters of the plugged model; its tables are the trunk's."""
  net = {'trunk': trunk.net, 'plugins': plugins}
  return types.Params(trunk.tables, net)


def split(params: types.Params) -> tuple[types.Params, types.PyTree]:
  """(trunk, plugins with leaves [G, ...]); the inverse of `join`."""
  trunk = types.Params(params.tables, params.net['trunk'])
  return trunk, params.net['plugins']


def attached(
  model: types.Model,
  plugin: types.Plugin,
  plugins: types.PyTree,
  weights: jax.Array,
) -> types.Model:
  """The trunk with K plugins on, which all examples share.

  Plugins have leaves [K, ...]; weights f32[K] of 0 are the bare trunk.
  """
  return stages_lib.from_stages(plugin.attach(model.stages, plugins, weights))


def with_stages(model: types.Model | None, name: str) -> types.Model:
  """The model, where plugins can attach to it; `name` is for the message.

  Raises:
    types.UserError: a model without stages, or none.
  """
  if model is None or model.stages is None:
    raise types.UserError(
      f'model {name} has no stages for a plugin to attach to; '
      'choose a sequence model such as din, or plugin.name=none'
    )
  return model


def plugged(
  model: types.Model | None,
  plugin: types.Plugin,
  num_groups: int,
  name: str = 'this',
) -> types.Model:
  """The trunk and the plugins of all groups as one model.

  With a route of [K] the plugins are attached once, at the cost of the plain
  model; with [B, K] every example has plugins of its own.

  Args:
    model: the trunk.
    plugin: how plugins start and are attached.
    num_groups: G.
    name: of the trunk, for the message.
  Returns:
    A model with net = {'trunk': ..., 'plugins': leaves [G, ...]} and the
    tables of the trunk.
  Raises:
    types.UserError: a model without stages.
  """
  model = with_stages(model, name)

  def init(key, context, sizes):
    trunk_key, plugin_key = jax.random.split(key)
    trunk = model.init(trunk_key, context, sizes)
    plugins = plugin.init(plugin_key, model.stages, trunk, num_groups, sizes)
    return join(trunk, plugins)

  def attach(net, route):
    plugins = rows_ops.gather(net['plugins'], route.groups)
    return attached(model, plugin, plugins, route.weights)

  def encode_by(method):
    def encode(net, rows, context, inputs, *, key=None):
      route = inputs['route']
      inputs = {k: v for k, v in inputs.items() if k != 'route'}

      def run(route, rows, inputs, key):
        run_method = method(attach(net, route))
        return run_method(net['trunk'], rows, context, inputs, key=key)

      return Encoded(route, _by_route(run, route, (rows, inputs), key))

    return encode

  def score(net, encoded, candidate_rows, *, key=None):
    def run(route, inner, candidate_rows, key):
      run_score = attach(net, route).score
      return run_score(net['trunk'], inner, candidate_rows, key=key)

    own_candidates = candidate_rows['embedding'].ndim > 2
    arguments = encoded.inner, candidate_rows
    return _by_route(run, encoded.route, arguments, key, own_candidates)

  def auxiliary(net, rows, inputs, others):
    route = inputs['route']
    inputs = {k: v for k, v in inputs.items() if k != 'route'}

    def run(route, given, others, key):
      del key  # no dropout
      loss: Any = attach(net, route).auxiliary
      return loss(net['trunk'], *given, others)

    return _by_route(run, route, ((rows, inputs), others), None)

  def reasons(net, encoded, history, candidate_rows):
    def run(route, inner, candidate_rows, key):
      del key  # no dropout
      of: Any = attach(net, route).reasons
      return of(net['trunk'], inner, None, candidate_rows)

    own_candidates = candidate_rows['embedding'].ndim > 2
    arguments = encoded.inner, candidate_rows
    return _by_route(run, encoded.route, arguments, None, own_candidates)

  positions = encode_by(lambda model: model.encode_positions)
  return types.Model(
    init=init,
    encode=encode_by(lambda model: model.encode),
    score=score,
    encode_positions=positions if model.encode_positions else None,
    any_length=model.any_length,
    cloze=model.cloze,
    auxiliary=auxiliary if model.auxiliary else None,
    reasons=reasons if model.reasons else None,
  )


def _by_route(run, route, arguments, key, own_last=True):
  """`run` (route of [K], two batches, key) for each example by itself.

  At once, if the route is one for all. Without `own_last` all examples share
  the second of the arguments.
  """
  chex.assert_equal_shape([route.groups, route.weights])
  chex.assert_rank(route.groups, {1, 2})
  first, last = arguments
  if route.groups.ndim == 1:
    return run(route, first, last, key)
  batch = lambda tree: jax.tree.map(lambda leaf: leaf[None], tree)

  def run_one(route, first, last, key):
    last = batch(last) if own_last else last
    made = run(route, batch(first), last, key)
    return jax.tree.map(lambda leaf: leaf[0], made)

  in_axes = (0, 0, 0 if own_last else None, 0)
  keys = None if key is None else jax.random.split(key, len(route.groups))
  return jax.vmap(run_one, in_axes)(route, first, last, keys)
