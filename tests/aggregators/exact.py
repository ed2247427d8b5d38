"""Every aggregator written again on vectors, in float64.

Nothing goes through a Gram matrix where that would lose digits: projections,
least squares and singular values are of the gradients themselves. Updates are
the first ones, from `cases.info()`, with every group present.
"""

import itertools

import jax
import numpy as np
from scipy import optimize

from tests.aggregators import cases
from twotsrec.aggregators import projection

_LOSSES, _SIZES = np.array(cases.LOSSES), np.array(cases.SIZES)


def unit(vectors):
  """Rows over their lengths."""
  return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def update(name, vectors, seed=0):
  """The update f64[D] of gradients f64[G, D]."""
  return _UPDATES[name](np.asarray(vectors, np.float64), seed)


def rank(vectors):
  """Directions there are, as far as float32 can tell from their cosines."""
  values = np.linalg.svd(unit(vectors), compute_uv=False)
  least = np.sqrt(len(vectors) * np.finfo(np.float32).eps)
  return np.sum(values > least * values[0])


def _weighted(weights):
  return lambda vectors, seed: weights / np.sum(weights) @ vectors


def _fixed(weights):
  return lambda vectors, seed: weights @ vectors


def pcgrad(vectors, order):
  """PCGrad, algorithm 1 [G, D]: conflicts with the original gradients."""
  turned = vectors.copy()
  for i, row in enumerate(order):
    for j in row:
      product = turned[i] @ vectors[j]
      if i != j and product < 0:
        turned[i] -= product / (vectors[j] @ vectors[j]) * vectors[j]
  return turned


def _turned(vectors, seed):
  """PCGrad; the first step of GradVac, whose averages are 0."""
  order = np.asarray(projection.draw_order(cases.key(seed), len(vectors)))
  return pcgrad(vectors, order).mean(0)


def _agreeing(vectors, seed):
  del seed
  signs = np.abs(np.sign(vectors).sum(0)) == len(vectors)
  return np.where(signs, vectors.sum(0), 0.0)


def _db_mtl(vectors, seed):
  del seed
  norms = np.linalg.norm(vectors, axis=1) / _LOSSES
  return norms.max() * unit(vectors).sum(0)


def supports(size):
  """Sets of groups, from single ones to all."""
  for number in range(1, size + 1):
    yield from itertools.combinations(range(size), number)


def shortest(vectors):
  """The point of least length in the convex hull, by trying every face."""
  best = vectors[0]
  for support in map(list, supports(len(vectors))):
    first, *others = vectors[support]
    edges = np.reshape(others, (-1, vectors.shape[1])) - first
    shares = np.linalg.lstsq(edges.T, -first, rcond=None)[0]
    point = first + shares @ edges
    inside = np.all(shares >= 0) and shares.sum() <= 1
    if inside and point @ point < best @ best:
      best = point
  return best


def cagrad_direction(vectors, c=0.5):
  """max over |d - g_0| <= c |g_0| of min_j <d, g_j>, by its dual.

  The dual is min over w, t > 0 of <g_w, g_0> + r (t + |g_w|^2 / t) / 2 with
  r = c |g_0|: for a fixed t the shortest point of shifted vectors.
  """
  mean = vectors.mean(0)
  radius = c * np.linalg.norm(mean)

  def at(log_t):
    t = np.exp(log_t)
    # |g_w|^2 r / 2t + <g_w, g_0> = r / 2t |g_w + t g_0 / r|^2 - const.
    shift = t / radius * mean
    point = shortest(vectors + shift) - shift
    return point @ mean + 0.5 * radius * (t + point @ point / t), point

  longest = np.log(np.linalg.norm(vectors, axis=1).max())
  found = optimize.minimize_scalar(
    lambda log_t: at(log_t)[0],
    bounds=(longest - 25, longest + 1),
    method='bounded',
    options={'xatol': 1e-9},
  )
  return mean + radius * unit(at(found.x)[1])


def _cagrad(vectors, seed):
  del seed
  return cagrad_direction(vectors) / (1 + 0.5**2)


def imtl_weights(vectors):
  """alpha with the same projection of the update on every unit gradient."""
  # (U U')^+ 1, by singular values of U.
  left, values, _ = np.linalg.svd(unit(vectors), full_matrices=False)
  left, values = left[:, : rank(vectors)], values[: rank(vectors)]
  solved = left @ (left.sum(0) / values**2)
  weights = solved / np.linalg.norm(vectors, axis=1)
  return weights / weights.sum()


def _bargain(vectors, seed):
  """M a = 1 / a; the update is as long as all gradients together."""
  del seed
  directions = unit(vectors)
  # In b = |g| a, the minimum of |b' U|^2 / 2 - sum log b, by Newton.
  b = np.full(len(vectors), 1 / np.sqrt(len(vectors)))
  cosines = directions @ directions.T
  for _ in range(200):
    slope = cosines @ b - 1 / b
    # Scaled by b, so that it stays regular beside a nearly singular matrix.
    scaled = cosines * b * b[:, None] + np.eye(len(b))
    step = b * np.linalg.solve(scaled, -slope * b)
    fall = max(np.max(-step / b), 0.0)
    decrement = np.sqrt(max(-slope @ step, 0.0))
    rate = 1 / (1 + decrement) if decrement > 0.25 else 1.0
    b = b + min(rate, 0.9 / max(fall, 1e-9)) * step
  point = b @ directions
  return point * np.linalg.norm(vectors) / np.sqrt(len(vectors))


def _nash(vectors, seed):
  point = _bargain(vectors, seed)
  return point / max(np.linalg.norm(point), 1.0)


def _aligned(vectors, seed):
  del seed
  left, values, right = np.linalg.svd(vectors, full_matrices=False)
  number = rank(vectors)
  polar = left[:, :number] @ right[:number]
  return values[number - 1] * polar.mean(0)


def _upgrad(vectors, seed):
  del seed
  directions = unit(vectors)
  points = []
  for g in vectors:
    multipliers = optimize.nnls(directions.T, -g)[0]
    points.append(g + multipliers @ directions)
  return np.mean(points, axis=0)


def _config(vectors, seed):
  """The direction of equal cosines, as long as the parts along it."""
  del seed
  left, values, right = np.linalg.svd(unit(vectors), full_matrices=False)
  number = rank(vectors)
  solved = left[:, :number].sum(0) / values[:number] @ right[:number]
  direction = unit(solved)
  return np.sum(vectors @ direction) * direction


def _dualproj(vectors, seed):
  del seed
  directions, mean = unit(vectors), vectors.mean(0)
  return mean + optimize.nnls(directions.T, -mean)[0] @ directions


def krum(vectors, byzantine=1, selected=1):
  """The mean of the gradients with the nearest neighbors, by sorting."""
  number = len(vectors)
  rows = []
  for i, g in enumerate(vectors):
    squares = [np.sum((g - h) ** 2) for j, h in enumerate(vectors) if j != i]
    nearest = sorted(squares)[: number - byzantine - 2]
    # Two that are nearest to each other: the sums differ in rounding alone.
    rows.append((float(f'{sum(nearest):.5g}'), sum(squares), i))
  return np.mean([vectors[i] for *_, i in sorted(rows)[:selected]], axis=0)


def draws(seed):
  """What GradDrop draws for the entries of both leaves, f32[7]."""
  shapes = zip(jax.random.split(cases.key(seed), 2), [(3,), (2, 2)])
  drawn = [np.ravel(jax.random.uniform(key, shape)) for key, shape in shapes]
  return np.concatenate(drawn)


def graddrop(vectors, seed, leak=0.0):
  """The sum of the entries with the sign that is drawn for each."""
  purity = 0.5 * (1 + vectors.sum(0) / np.abs(vectors).sum(0))
  positive = draws(seed) < purity
  heard = np.where((vectors > 0) == positive, 1.0, leak)
  return np.sum(heard * vectors, axis=0)


def _random(vectors, seed):
  draws = np.asarray(jax.random.normal(cases.key(seed), (len(vectors),)))
  return np.exp(draws) / np.sum(np.exp(draws)) @ vectors


def simplex(values):
  """The nearest point of the simplex, by sorting."""
  ordered = np.sort(values)[::-1]
  shifts = (np.cumsum(ordered) - 1) / np.arange(1, len(values) + 1)
  return np.maximum(values - shifts[ordered > shifts][-1], 0)


def _moco(vectors, seed):
  del seed
  average, even = 0.5 * vectors, np.full(len(vectors), 1 / len(vectors))
  return simplex(even - 0.1 * average @ (average.T @ even)) @ average


def constrained(scaled, tau=0.02):
  """The point nearest to the last vector with <g_j, d> >= tau |g_j|^2.

  By trying every set of constraints that hold as equations; the last vector
  itself where no set does.
  """
  *others, last = scaled
  others = np.array(others)
  least = tau * np.sum(others**2, axis=1)
  for support in [(), *supports(len(others))]:
    active = others[list(support)]
    wanted = least[list(support)] - active @ last
    force = np.linalg.lstsq(active @ active.T, wanted, rcond=1e-9)[0]
    point = last + force @ active
    if np.all(force >= 0) and np.all(others @ point >= least - 1e-9):
      return point
  return last


def _pcd(vectors, seed):
  del seed
  lengths = np.sqrt(np.sum(vectors**2, axis=1) + 1e-8)
  point = constrained(vectors / lengths[:, None])
  return np.linalg.norm(vectors[-1]) * unit(point)


def cosmos_weights(losses, shares, penalty):
  """dF / dL of p'L - lambda cos(p, L)."""
  lengths = np.linalg.norm(losses) * np.linalg.norm(shares)
  turn = shares / lengths - shares @ losses * losses / lengths / (
    losses @ losses
  )
  return shares - penalty * turn


def pbi_weights(losses, shares, theta):
  """dF / dL of |p| (d_1 + theta d_2), with z taken off the losses."""
  direction = unit(shares)
  aside = losses - losses @ direction * direction
  return np.linalg.norm(shares) * (direction + theta * unit(aside))


_EVEN = np.ones(cases.GROUPS)
_SHARES = _EVEN / cases.GROUPS
_Q = np.exp(0.01 * _LOSSES)
_EFFECTIVE = (1 - 0.9999**_SIZES) / (1 - 0.9999)
_UPDATES = {
  'joint': _weighted(_EVEN),  # equal counts
  'backdoor': _weighted(_EVEN),
  'class_balanced': _weighted(_SIZES / _EFFECTIVE),
  'pcgrad': _turned,
  'gradvac': _turned,
  'agr_sum': _agreeing,
  'agr_rand': _agreeing,
  'gradnorm': _weighted(_EVEN),
  'group_dro': _weighted(_Q),
  'famo': _weighted(1 / (_LOSSES + 1e-8)),
  'mgda': lambda vectors, seed: shortest(vectors),
  'cagrad': _cagrad,
  'imtl_g': lambda vectors, seed: imtl_weights(vectors) @ vectors,
  'nash': _nash,
  'aligned': _aligned,
  'upgrad': _upgrad,
  'fairgrad': _bargain,
  'db_mtl': _db_mtl,
  'config': _config,
  'dualproj': _dualproj,
  'krum': lambda vectors, seed: krum(vectors),
  'trimmed_mean': lambda vectors, seed: np.sort(vectors, axis=0)[1:-1].mean(0),
  'graddrop': graddrop,
  'pcd': _pcd,
  'moco': _moco,
  'modo': _weighted(_EVEN),
  'sdmgrad': _weighted(_EVEN),
  'excess_mtl': _weighted(_EVEN),
  'rlw': _random,
  'uw': _weighted(_EVEN),
  'imtl_l': _weighted(_EVEN),
  'imtl': lambda vectors, seed: imtl_weights(vectors) @ vectors,
  'dwa': _weighted(_EVEN),
  'gls': _fixed(np.exp(np.mean(np.log(_LOSSES))) / _LOSSES / cases.GROUPS),
  'stch': _fixed(_SHARES / _LOSSES),
  'cosmos': _fixed(cosmos_weights(_LOSSES, _SHARES, 1.0)),
  'pbi': _fixed(pbi_weights(_LOSSES, _SHARES, 5.0)),
}
