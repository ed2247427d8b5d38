import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import behavior_toys as toys
from twotsrec import behavior_config
from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.models import experts

TARGET, WIDTH = 2, toys.WIDTH
# Every user with every item.
PAIRS = np.array(
  [(u, toys.USERS + i) for u in range(toys.USERS) for i in range(toys.ITEMS)]
)


def _options(**changes):
  return dataclasses.replace(config_lib.HeadConfig(), **changes)


def _net(options, seed=4):
  init = experts.make(options, WIDTH, 3).init
  shapes = jax.eval_shape(init, jax.random.key(0))
  return toys.random_like(shapes, 0.7, seed)


def _scores(net, tables, task, options):
  """Scores of all pairs, f32[pairs]."""
  head = experts.make(options, WIDTH, 3)
  table = head.prepare(net, types.Fused(tuple(tables)), toys.prepared(), task)
  return head.score(net, *(table[i] for i in PAIRS.T), task)


def _fitted(net, tables, source, task, options):
  """F^{j->k} of all nodes, COPF eq. 10-12 with r on every neighbor."""
  walk = toys.normalize(toys.adjacency(toys.masks()[task]), 'left')
  x = (options.alpha * tables[source] + options.beta * tables[task]) / 2
  relation = net['relation'][task]
  layers = [x]
  for layer in range(options.transfer_layers):
    if layer:
      relation = relation @ net['steps'][layer - 1]
    residual = x * relation if options.modulate_residual else x
    x = walk @ (x * relation) + residual
    layers.append(x)
  return sum(layers) if options.transfer_output == 'sum' else layers[-1]


def _vectors(net, tables, source, task, options):
  """What stands for the source in the task, f64[n, D]."""
  own, other = tables[task], tables[source]
  if options.transfer == 'fit':
    found = _fitted(net, tables, source, task, options)
  elif options.transfer == 'linear':
    found = other @ net['transfer']
  elif options.transfer == 'projection':
    found = np.stack([(x @ y) / (y @ y) * y for x, y in zip(other, own)])
  else:
    found = other
  return options.transfer_scale * found


def _attended(net, tables, others, task):
  found = np.zeros_like(tables[task])
  for node, own in enumerate(tables[task]):
    likeness = np.array(
      [own @ net['transfer'] @ tables[j][node] / np.sqrt(WIDTH) for j in others]
    )
    share = np.exp(likeness) / np.exp(likeness).sum()
    found[node] = sum(s * tables[j][node] for s, j in zip(share, others))
  return found


def _literal(net, tables, task, options):
  """Scores of all pairs, one by one in f64 (COPF eq. 9-15)."""
  net = jax.tree.map(lambda x: np.asarray(x, np.float64), net)
  tables = [np.asarray(table, np.float64) for table in tables]
  own = tables[task]
  others = [j for j in range(3) if j != task]
  vectors = {task: own}
  if options.transfer == 'attention':
    vectors['others'] = _attended(net, tables, others, task)
  elif options.transfer != 'none':
    for j in others:
      vectors[j] = _vectors(net, tables, j, task, options)
  slots = list(vectors)
  if options.gate_order == 'behavior' and options.transfer != 'attention':
    slots = sorted(slots)
  scores = []
  for user, item in PAIRS:
    weights = np.ones(len(slots))
    if options.gate == 'softmax':
      x = np.concatenate([own[user], own[item]])
      logits = x @ net['gate']['weight'] + net['gate']['bias']
      weights = np.exp(logits) / np.exp(logits).sum()
    product = sum(
      w * vectors[j][user] * vectors[j][item] for w, j in zip(weights, slots)
    )
    reduced = product.mean() if options.tower == 'mean' else product.sum()
    scales = options.score_scale
    scores.append(scales[task if len(scales) > 1 else 0] * reduced)
  return np.array(scores)


UNGATED = {'gate': 'none', 'gradient_policy': 'none'}


@pytest.mark.parametrize('task', [0, TARGET])
@pytest.mark.parametrize(
  'changes',
  [
    {},
    {'alpha': 0.8, 'beta': 0.3},
    {'alpha': 0.8, 'transfer_layers': 2, 'beta': 0.3},
    {'alpha': 0.8, 'transfer_layers': 3, 'transfer_output': 'last'},
    {'alpha': 0.8, 'transfer_layers': 2, 'modulate_residual': False},
    {'transfer_scale': 0.1, 'gate_order': 'behavior', 'alpha': 0.8},
    {'transfer': 'identity'},
    {'transfer': 'identity', 'gate_order': 'behavior', 'tower': 'mean'},
    {'transfer': 'linear', 'score_scale': (300.0, 75.0, 20.0)},
    {'transfer': 'projection', 'transfer_scale': 0.5},
    {'transfer': 'identity', **UNGATED},
    {'transfer': 'attention', **UNGATED},
    {'transfer': 'none', **UNGATED},
  ],
)
def test_scores_equal_a_loop_over_pairs_and_experts(task, changes):
  options, tables = _options(**changes), toys.tables()
  net = _net(options)
  ours = np.asarray(_scores(net, tables, task, options))
  theirs = _literal(net, tables, task, options)
  np.testing.assert_allclose(
    ours, theirs, rtol=1e-4, atol=1e-5 * np.abs(theirs).max()
  )


@functools.cache
def _gradients(layers=1, order='self_first'):
  """d loss of a task / d R[j], {policy: f32[tasks, K, n, D]}; BPR."""

  def gradient(tables, task, policy):
    options = _options(
      score_scale=(1.0,), alpha=0.8, transfer_layers=layers, gate_order=order,
      gradient_policy=policy,
    )  # fmt: skip
    net = _net(options)

    def loss(tables):
      scores = _scores(net, tables, task, options).reshape(toys.USERS, -1)
      return jnp.sum(jax.nn.softplus(scores[:, 1:] - scores[:, :-1]))

    return jnp.stack(jax.grad(loss)(tables))

  def of_all(tables):
    return {
      policy: jnp.stack([gradient(tables, task, policy) for task in range(3)])
      for policy in behavior_config.POLICIES
    }

  found = jax.jit(of_all)(toys.tables())
  return {policy: np.asarray(values) for policy, values in found.items()}


LAYERS = pytest.mark.parametrize(
  ('layers', 'order'),
  [(1, 'self_first'), (1, 'behavior'), (2, 'behavior'), (3, 'self_first')],
)


@LAYERS
def test_an_auxiliary_task_cannot_move_the_target(layers, order):
  # Whatever the number of layers: the authors' code lost this at one.
  moved = _gradients(layers, order)
  for task in (0, 1):
    stopped, free = moved['stop_target'][task], moved['none'][task]
    assert np.all(stopped[TARGET] == 0) and np.any(free[TARGET] != 0)
    for j in (0, 1):
      assert np.any(stopped[j] != 0)


@LAYERS
def test_a_target_task_moves_all_as_without_stop_gradients(layers, order):
  moved = _gradients(layers, order)
  np.testing.assert_array_equal(
    moved['stop_target'][TARGET], moved['none'][TARGET]
  )


@LAYERS
def test_stop_all_leaves_a_task_its_own_representation(layers, order):
  for task, moved in enumerate(_gradients(layers, order)['stop_all']):
    for j in range(3):
      assert np.any(moved[j] != 0) == (j == task)


def test_stop_gate_decides_whether_the_gate_of_a_cut_expert_learns():
  """The numerator of its weight, that is; the denominator always does."""
  task, tables = 0, toys.tables()

  def by_weight(stop_gate, policy='stop_target'):
    options = _options(
      stop_gate=stop_gate,
      gradient_policy=policy,
      transfer='identity',
      score_scale=(1.0,),
    )
    net = _net(options)

    def total(weight):
      changed = {**net, 'gate': {**net['gate'], 'weight': weight}}
      return jnp.sum(_scores(changed, tables, task, options))

    return net, np.asarray(jax.grad(total)(net['gate']['weight']))

  net, cut = by_weight(True)
  own = np.asarray(tables[task], np.float64)
  weight, bias = (np.asarray(net['gate'][n]) for n in ('weight', 'bias'))
  # Slots are tasks 0, 1, 2: d g_j / d logit_s = g_j ([j = s] - g_s).
  expected = np.zeros_like(weight, np.float64)
  for user, item in PAIRS:
    x = np.concatenate([own[user], own[item]])
    gate = np.exp(x @ weight + bias)
    gate /= gate.sum()
    parts = [float(np.dot(table[user], table[item])) for table in tables]
    for slot in range(3):
      for j in range(2):  # the target's product is a constant
        slope = gate[j] * ((j == slot) - gate[slot])
        expected[:, slot] += parts[j] * slope * x
  np.testing.assert_allclose(cut, expected, rtol=1e-3, atol=1e-4)
  _, learning = by_weight(False)
  _, free = by_weight(True, 'none')
  # The value of the expert counts, so the gate learns as without any cut.
  np.testing.assert_allclose(learning, free, rtol=1e-5, atol=1e-5)
  assert np.abs(learning - cut).max() > 0.1


def test_without_mixing_only_the_gated_own_expert_is_left():
  options, tables = _options(alpha=0.0, beta=0.0), toys.tables()
  net = _net(options)
  own = np.asarray(tables[1])
  x = np.concatenate([own[PAIRS[:, 0]], own[PAIRS[:, 1]]], axis=1)
  logits = x @ np.asarray(net['gate']['weight']) + np.asarray(
    net['gate']['bias']
  )
  share = np.exp(logits[:, 0]) / np.exp(logits).sum(1)
  product = np.sum(own[PAIRS[:, 0]] * own[PAIRS[:, 1]], axis=1)
  np.testing.assert_allclose(
    _scores(net, tables, 1, options), 300 * share * product, rtol=1e-3,
    atol=1e-3,
  )  # fmt: skip


def test_a_projection_is_parallel_idempotent_and_leaves_what_is_orthogonal():
  x, y, _ = toys.tables()
  along = np.asarray(experts.project(x, y), np.float64)
  y = np.asarray(y, np.float64)
  ratio = along / y
  np.testing.assert_allclose(ratio, ratio[:, :1].repeat(WIDTH, 1), rtol=1e-4)
  rest = np.asarray(x) - along
  np.testing.assert_allclose(np.sum(rest * y, axis=1), 0, atol=1e-5)
  again = experts.project(jnp.asarray(along, jnp.float32), jnp.asarray(y, 'f4'))
  np.testing.assert_allclose(again, along, rtol=1e-4, atol=1e-6)
  nothing = experts.project(x, jnp.zeros_like(x))
  np.testing.assert_array_equal(nothing, np.zeros_like(x))


def test_the_slot_of_a_behavior_depends_on_the_order():
  found = [
    [experts.sources(k, 3, _options(gate_order=order)) for k in range(3)]
    for order in ('self_first', 'behavior')
  ]
  assert found[0] == [(0, 1, 2), (1, 0, 2), (2, 0, 1)]
  assert found[1] == [(0, 1, 2)] * 3


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({}, 'use head.gate=none and head.gradient_policy=stop_all or none$'),
    ({'gate': 'none'}, "^head.gradient_policy 'stop_target': .* use head.grad"),
  ],
)
def test_attention_leaves_nothing_to_gate_or_to_stop(changes, message):
  with pytest.raises(types.UserError, match=message) as caught:
    experts.make(_options(transfer='attention', **changes), WIDTH, 3)
  assert '\n' not in str(caught.value)


def test_scales_are_one_or_one_for_each_behavior():
  options = _options(score_scale=(3.0, 2.0, 1.0))
  assert [experts.task_scale(k, 3, options) for k in range(3)] == [3, 2, 1]
  with pytest.raises(types.UserError, match='3 numbers; .* of the 2 behav'):
    experts.task_scale(0, 2, options)
