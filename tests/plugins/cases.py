"""Small trunks with three groups of plugins, and programs that tests share."""

import functools

import jax
import numpy as np

from tests.models import examples
from twotsrec import config
from twotsrec import plugins
from twotsrec import types
from twotsrec.ops import rows
from twotsrec.plugins import plugged

GROUPS = 3
KEY = jax.random.key(3, impl='unsafe_rbg')  # quick to compile
USER_GROUP = np.array([1, 0, 2, 1], np.int32)
SHARED = np.arange(1, examples.SIZES.num_items + 1, dtype=np.int32)
REPEATED = np.tile(SHARED, (len(USER_GROUP), 1))


@functools.cache
def make(name, **options):
  return plugins.make(config.PluginConfig(name=name, **options))


@functools.cache
def model(name, plugin, **changes):
  """The plugged model; cached, so that what is compiled for it is reused."""
  trunk = examples.make(name, **changes)
  return plugged.plugged(trunk, make(plugin), GROUPS, name)


@examples.jit
def init(pair, trunk, key=KEY):
  """Plugins as they start; `pair` is (plugin, stages)."""
  plugin, stages = pair
  return plugin.init(key, stages, trunk, GROUPS, examples.SIZES)


@functools.cache
def start(name, plugin, **changes):
  """Plugins as they start, around a trunk that is not at its start."""
  trunk = examples.params(name, **changes)
  stages = examples.make(name, **changes).stages
  return plugged.join(trunk, init((make(plugin), stages), trunk))


@functools.cache
def moved(name, plugin, **changes):
  """Plugins off their start: none is the identity, no two are equal."""
  trunk, fresh = plugged.split(start(name, plugin, **changes))
  return plugged.join(trunk, drawn(fresh))


def drawn(tree, scale=0.4):
  """Random numbers in the shape of a tree."""
  rng = np.random.default_rng(5)
  draw = lambda x: rng.normal(0.0, scale, x.shape).astype(x.dtype)
  return jax.device_put(jax.tree.map(draw, tree))


def one(group, weight=1.0):
  """All examples share the plugin of one group."""
  return types.Route(np.array([group], np.int32), np.array([weight], 'f4'))


def own(groups=USER_GROUP, weight=1.0):
  """Every example has the plugin of its own group."""
  weights = np.full((len(groups), 1), weight, np.float32)
  return types.Route(np.asarray(groups, np.int32)[:, None], weights)


def encode(model, params, route, key=None, history=examples.HISTORY):
  history_rows = rows.gather(params.tables['item'], history)
  inputs = {'history': history, 'route': route}
  return model.encode(params.net, history_rows, {}, inputs, key=key)


def score(model, params, encoded, ids):
  candidate_rows = rows.gather(params.tables['item'], ids)
  return model.score(params.net, encoded, candidate_rows)


def _scores(model, params, route):
  # A hidden item is appended for a model that fills them in; with an item less
  # all read seven positions. Eight are added up in another order by processors
  # that add eight numbers at once, where examples have plugins of their own.
  history = examples.HISTORY[:, : -1 if model.cloze else None]
  encoded = encode(model, params, route, history=history)
  ids = {'own': examples.CANDIDATES, 'shared': SHARED}
  if model.stages is not None:  # a trunk
    ids['repeated'] = REPEATED
  return {name: score(model, params, encoded, ids[name]) for name in ids}


# {candidates: f32[B, C]}
scores = examples.jit(_scores)


def trunk_scores(name, params, **changes):
  """A trunk takes a route too, and does not read it."""
  return scores(examples.make(name, **changes), params, one(0))
