import chex
import jax
import jax.numpy as jnp
import numpy as np

from tests.models import ctr_tower_test
from tests.models import examples
from twotsrec.models import mimn
from twotsrec.ops import rows


def _cosine(x, y):
  return x @ y / (np.linalg.norm(x) * np.linalg.norm(y) + 1e-8)


def _softplus(x):
  return np.logaddexp(0, x)


class _Loop:
  """The equations of the module for one user, in NumPy."""

  def __init__(self, params):
    self.params, self.width = params, params['read']['kernel'].shape[1]
    slots = params['keys']['kernel'].shape[0]
    self.memory = np.zeros((slots, self.width))
    self.added = np.zeros((slots, self.width))
    self.state = np.zeros(self.width)
    self.read = np.tanh(params['read']['kernel'][0])

  def _address(self, head):
    key, sharpness = np.tanh(head[:-1]), head[-1]
    own = np.tanh(self.params['keys']['kernel'])
    alike = [
      0.5 * (_cosine(key, k) + _cosine(key, m))
      for k, m in zip(own, self.memory)
    ]
    return examples.softmax(2 * (_softplus(sharpness) + 1) * np.array(alike))

  def step(self, item):
    """Reads and writes; what the controller answers, f64[D]."""
    gru, x = self.params['controller'], np.concatenate([item, self.read])
    by_input = np.split(examples.dense(gru['input'], x), 3)
    by_state = np.split(examples.dense(gru['recurrent'], self.state), 3)
    reset = examples.sigmoid(by_input[0] + by_state[0])
    keep = examples.sigmoid(by_input[1] + by_state[1])
    fresh = np.tanh(by_input[2] + reset * by_state[2])
    self.state = (1.0 - keep) * fresh + keep * self.state
    heads = np.clip(examples.dense(self.params['heads'], self.state), -20, 20)
    cuts = np.cumsum([self.width + 1, self.width + 1, self.width])
    read, write, erase, add = np.split(heads, cuts)
    by_read, by_write = self._address(read), self._address(write)
    self.read = by_read @ self.memory
    add = np.outer(by_write, np.tanh(add))
    erased = 1.0 - np.outer(by_write, examples.sigmoid(erase))
    self.memory, self.added = self.memory * erased + add, self.added + add
    joined = np.concatenate([self.state, self.read])
    return np.clip(examples.dense(self.params['output'], joined), -20, 20)


def test_scores_equal_the_equations_in_a_loop():
  def score(net, items, q):
    loop = _Loop(net['extractor'])
    for item in items:
      loop.step(item)
    mean, pooled = loop.added.mean(axis=0), items.sum(axis=0)
    joined = np.concatenate([q, loop.step(q), pooled, q * mean])
    return ctr_tower_test.tower(net['classifier'], joined)

  for slots in (4, 2):
    ctr_tower_test.check('mimn', score, memory_slots=slots)


def _embedded():
  params = examples.params('mimn')
  looked_up = rows.gather(params.tables['item'], examples.HISTORY)
  return params.net['extractor'], looked_up['embedding']


def test_weights_of_a_write_sum_to_one():
  extractor, embedded = _embedded()
  memory = mimn.start(extractor, len(embedded))
  for t in range(3):
    projected = mimn.project(extractor, embedded[:, t], jnp.float32)
    memory, weights = mimn.write(extractor, projected, memory, jnp.float32)
    assert np.all(weights > 0)
    np.testing.assert_allclose(weights.sum(axis=-1), 1.0, rtol=1e-5)
  assert np.ptp(weights, axis=-1).min() > 1e-3  # and they differ


def test_padding_leaves_the_memory_as_it_is():
  extractor, embedded = _embedded()
  mask = jnp.asarray(examples.HISTORY > 0)
  memory, _ = mimn.remember(extractor, embedded, mask, jnp.float32)
  empty, short = examples.LENGTHS.index(0), examples.LENGTHS.index(3)
  of = lambda tree, user: jax.tree.map(lambda leaf: leaf[user], tree)
  start = of(mimn.start(extractor, 1), 0)
  chex.assert_trees_all_equal(of(memory, empty), start)
  alone, _ = mimn.remember(
    extractor, embedded[short : short + 1, :3], mask[short : short + 1, :3],
    jnp.float32,
  )  # fmt: skip
  chex.assert_trees_all_close(
    of(memory, short), of(alone, 0), rtol=1e-5, atol=1e-6
  )
