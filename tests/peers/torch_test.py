"""Layers, losses and Adam beside those of torch."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from twotsrec import config as config_lib
from twotsrec import losses
from twotsrec.models import layers
from twotsrec.ops import sequence
from twotsrec.training import optimizers

torch = pytest.importorskip('torch')


def _tensor(array):
  return torch.tensor(np.array(array))


def test_a_gru_over_sequences_of_different_length():
  inputs, width, length = 5, 7, 6
  params = layers.init_gru(jax.random.key(0), inputs, width)
  draw = np.random.default_rng(0).normal
  params = jax.tree.map(lambda x: x + 0.3 * draw(size=x.shape), params)
  x = draw(size=(4, length, inputs)).astype(np.float32)
  lengths = np.array([6, 3, 1, 5])
  mask = np.arange(length) < lengths[:, None]
  last, states = sequence.gru(params, jnp.asarray(x), jnp.asarray(mask))
  theirs = torch.nn.GRU(inputs, width, batch_first=True)
  given = {
    'weight_ih_l0': params['input']['kernel'].T,
    'bias_ih_l0': params['input']['bias'],
    'weight_hh_l0': params['recurrent']['kernel'].T,
    'bias_hh_l0': params['recurrent']['bias'],
  }
  theirs.load_state_dict({k: _tensor(v).float() for k, v in given.items()})
  with torch.no_grad():
    expected = theirs(_tensor(x))[0].numpy()
  np.testing.assert_allclose(
    np.asarray(states)[mask], expected[mask], atol=2e-6
  )
  rows = np.arange(4)
  np.testing.assert_allclose(last, expected[rows, lengths - 1], atol=2e-6)


def test_layer_norm():
  x = np.random.default_rng(1).normal(40.0, 3.0, (6, 9)).astype(np.float32)
  ours = layers.layer_norm(layers.init_layer_norm(9), jnp.asarray(x))
  theirs = torch.nn.LayerNorm(9)(_tensor(x)).detach().numpy()
  np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize('scale', [1.0, 50.0])
def test_losses(scale):
  draw = np.random.default_rng(2)
  logits = (scale * draw.normal(size=(8, 5))).astype(np.float32)
  labels = draw.integers(0, 2, (8, 5)).astype(np.float32)
  functional = torch.nn.functional
  np.testing.assert_allclose(
    losses.bce_loss(jnp.asarray(logits), jnp.asarray(labels)),
    functional.binary_cross_entropy_with_logits(
      _tensor(logits), _tensor(labels), reduction='none'
    ),
    rtol=1e-5,
    atol=1e-6,
  )
  np.testing.assert_allclose(
    losses.bpr_loss(jnp.asarray(logits)),
    -functional.logsigmoid(_tensor(logits)),
    rtol=1e-5,
    atol=1e-6,
  )
  first = torch.zeros(8, dtype=torch.long)
  np.testing.assert_allclose(
    losses.offer_softmax_loss(
      jnp.asarray(logits[:, 0]), jnp.asarray(logits[:, 1:])
    ),
    functional.cross_entropy(_tensor(logits), first, reduction='none'),
    rtol=1e-5,
    atol=1e-5,
  )


def test_steps_of_adam():
  start = np.random.default_rng(3).normal(size=6).astype(np.float32)
  config = config_lib.TrainConfig(learning_rate=0.05, beta2=0.98)
  optimizer = optimizers.make(config)
  ours, parameter = jnp.asarray(start), torch.nn.Parameter(_tensor(start))
  theirs = torch.optim.Adam([parameter], lr=0.05, betas=(0.9, 0.98), eps=1e-8)
  state = optimizer.init(ours)
  for _ in range(30):
    slope = jax.grad(lambda x: jnp.sum(jnp.sin(x) * x))(ours)
    moves, state = optimizer.update(slope, state, ours)
    ours = optax.apply_updates(ours, moves)
    theirs.zero_grad()
    torch.sum(torch.sin(parameter) * parameter).backward()
    theirs.step()
  np.testing.assert_allclose(ours, parameter.detach().numpy(), atol=1e-5)
