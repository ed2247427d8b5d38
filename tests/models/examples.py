"""A tiny catalogue, four users and models with perturbed parameters."""

import functools

import jax
import numpy as np

from twotsrec import config
from twotsrec import models
from twotsrec import types
from twotsrec.ops import rows

SIZES = types.Sizes(num_users=4, num_items=9, history_length=7)
WIDTH = 8
LENGTHS = (7, 3, 1, 0)  # full, partial, one item, empty
_RNG = np.random.default_rng(0)
HISTORY = np.where(
  np.arange(SIZES.history_length) < np.array(LENGTHS)[:, None],
  _RNG.integers(1, SIZES.num_items + 1, (4, SIZES.history_length)),
  0,
).astype(np.int32)
CANDIDATES = np.stack(
  [1 + _RNG.permutation(SIZES.num_items) for _ in LENGTHS]
).astype(np.int32)
COUNTS = np.arange(SIZES.num_items + 1, dtype=np.float32) ** 2


@functools.cache
def make(name: str, **changes) -> types.Model:
  """A small model; cached, so that what is compiled for it is reused."""
  taken = ('width', *models.OPTIONS[name])
  sizes = {'width': WIDTH, 'hidden': (6, 4), 'num_heads': 2}
  sizes = {key: sizes[key] for key in sizes if key in taken}
  return models.make(config.ModelConfig(name=name, **{**sizes, **changes}))


@functools.cache
def params(name: str, **changes) -> types.Params:
  """Parameters off their starting point: no bias is 0, no scale is 1."""
  init = functools.partial(make(name, **changes).init, sizes=SIZES)
  context = {'item_counts': COUNTS}
  shapes = jax.eval_shape(init, jax.random.key(0), context)
  rng = np.random.default_rng(1)

  def draw(path, leaf):
    center = 1.0 if jax.tree_util.keystr(path[-1:]) == "['scale']" else 0.0
    return jax.device_put(
      rng.normal(center, 0.4, leaf.shape).astype(leaf.dtype)
    )

  return jax.tree_util.tree_map_with_path(draw, shapes)


def as_numpy(tree):
  """The same tree with f64 NumPy leaves, for references."""
  return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tree)


jit = functools.partial(jax.jit, static_argnums=0)


def _encode(model, params, history, key=None):
  history_rows = rows.gather(params.tables['item'], history)
  inputs = {'history': history}
  return model.encode(params.net, history_rows, {}, inputs, key=key)


def _encode_positions(model, params, history, key=None):
  history_rows = rows.gather(params.tables['item'], history)
  inputs = {'history': history}
  return model.encode_positions(params.net, history_rows, {}, inputs, key=key)


def _score_encoded(model, params, encoded, candidates):
  candidate_rows = rows.gather(params.tables['item'], candidates)
  return model.score(params.net, encoded, candidate_rows)


def one_pass(model, params, history, candidates):
  """Encode and score as one function, f32[B, C]."""
  encoded = _encode(model, params, history)
  return _score_encoded(model, params, encoded, candidates)


encode = jit(_encode)
encode_positions = jit(_encode_positions)
score_encoded = jit(_score_encoded)


def scores(model, params, history, candidates):
  """f32[B, C]; two programs, so that tests share the first."""
  encoded = encode(model, params, history)
  return score_encoded(model, params, encoded, candidates)


def sigmoid(x):
  return 1.0 / (1.0 + np.exp(-x))


def softmax(x):
  weights = np.exp(x - np.max(x))
  return weights / np.sum(weights)


def dense(params, x):
  return x @ params['kernel'] + params.get('bias', 0.0)


def mlp(params, x, activation):
  for i in range(len(params) - 1):
    x = activation(dense(params[f'dense_{i}'], x))
  return dense(params[f'dense_{len(params) - 1}'], x)


def layer_norm(params, x, epsilon):
  x = (x - np.mean(x)) / np.sqrt(np.var(x) + epsilon)
  return x * params['scale'] + params['bias']


def reference(score_one):
  """Scores of all users and candidates by `score_one(history, candidate)`."""
  return np.array(
    [
      [score_one(history[history > 0], candidate) for candidate in candidates]
      for history, candidates in zip(HISTORY, CANDIDATES, strict=True)
    ]
  )
