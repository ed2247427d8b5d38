"""Stacked gradients as matrices: every aggregator compiled once, for G = 4."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from twotsrec import aggregators
from twotsrec import config
from twotsrec import types

GROUPS, WIDTH = 4, 7
SIZES = (10.0, 20.0, 30.0, 140.0)
LOSSES = (0.9, 0.6, 0.5, 0.2)
NAMES = aggregators.NAMES
RANDOM = ('pcgrad', 'gradvac', 'agr_rand', 'graddrop', 'rlw')


def stack(vectors):
  """f32[G, 7] as a tree with two leaves."""
  vectors = jnp.asarray(vectors, jnp.float32)
  matrix = jnp.reshape(vectors[:, 3:], (-1, 2, 2))
  return {'bias': vectors[:, :3], 'kernel': matrix}


def flat(tree):
  """A tree without the group axis as f32[7]."""
  return jnp.concatenate([tree['bias'], jnp.ravel(tree['kernel'])])


def info(counts=None, sizes=SIZES, losses=LOSSES):
  """What an aggregator may know; by default every group is present."""
  counts = np.full(len(sizes), 5.0) if counts is None else counts
  arrays = (np.asarray(x, np.float32) for x in (sizes, counts, losses))
  return types.GroupInfo(*arrays)


def params():
  return {'bias': jnp.zeros(3), 'kernel': jnp.zeros((2, 2))}


@functools.cache
def make(name, **options):
  return aggregators.make(config.AggregatorConfig(name=name, **options))


@functools.cache
def compiled(name, **options):
  """(f32[G, 7], info, state, key) -> (f32[7], state, log)."""
  aggregator = make(name, **options)

  def update(vectors, info, state, key):
    grads, state, log = aggregator.update(stack(vectors), info, state, key=key)
    return flat(grads), state, log

  return jax.jit(update)


@functools.cache
def first_state(name, num_groups=GROUPS, **options):
  return make(name, **options).init(num_groups, params())


@functools.cache
def key(seed):
  return jax.random.key(seed)


def apply(name, vectors, information=None, seed=0, **options):
  """First update from f32[4, 7] as float64[7]."""
  update, *_ = compiled(name, **options)(
    np.asarray(vectors, np.float32),
    info() if information is None else information,
    first_state(name, **options),
    key(seed),
  )
  return np.asarray(update, np.float64)


def draw(seed, num_groups=GROUPS):
  """Random gradients without a common direction, float64[G, 7]."""
  return np.random.default_rng(seed).normal(size=(num_groups, WIDTH))


def scaled_gram(vectors):
  """Inner products with a mean diagonal of one, float64[G, G]."""
  gram = vectors @ vectors.T
  return gram * len(gram) / np.trace(gram)
