"""Plans of epochs: the numbers of the examples in every batch.

A plan is a function of (seed, epoch) alone, so a resumed run rebuilds it.
"""

import numpy as np

from twotsrec import types

BATCHINGS = ('proportional', 'natural', 'balanced')


def group_batch_sizes(
  sizes: np.ndarray, batch_size: int, batching: str
) -> np.ndarray:
  """Examples of each group in every batch, b_j, i64[G], summing to B.

  'proportional' is B n_j / N by largest remainder and at least one, of groups
  with `sizes` i64[G] n_j; 'balanced' is B / G.

  Raises:
    types.UserError: another batching, or a batch smaller than G.
  """
  sizes = np.asarray(sizes, np.float64)
  if batching not in ('proportional', 'balanced'):
    raise types.UserError(
      f'batching {batching!r}; known: {", ".join(BATCHINGS)}'
    )
  if batch_size < len(sizes):
    raise types.UserError(
      f'batch_size {batch_size} is below the {len(sizes)} groups; every group'
      ' needs one example in a batch: raise train.batch_size'
    )
  even = np.ones(len(sizes)) / len(sizes)
  share = even if batching == 'balanced' else sizes / sizes.sum()
  # One example each first, then the largest remainders of what is left.
  ideal = np.maximum(share * batch_size - 1.0, 0.0)
  ideal *= (batch_size - len(sizes)) / max(ideal.sum(), 1e-12)
  counts = np.floor(ideal).astype(np.int64)
  missing = batch_size - len(sizes) - counts.sum()
  order = np.argsort(-(ideal - counts), kind='stable')
  counts[order[:missing]] += 1
  return counts + 1


def make_plan(
  example_group: np.ndarray,
  num_groups: int,
  batch_size: int,
  batching: str,
  seed: int,
  epoch: int,
) -> np.ndarray:
  """One epoch of example numbers, i32[S, B] with S = ceil(E / B).

  'natural' shuffles all examples and fills the last batch with -1. In the
  other two, the columns are blocks of b_j examples per group; each group runs
  through its own shuffles as often as the steps need, so small groups repeat
  in 'balanced' batches.

  Args:
    example_group: i32[E], 0..G-1.
    num_groups: G.
    batch_size: B.
    batching: one of `BATCHINGS`.
    seed: of the experiment.
    epoch: of this plan.
  """
  example_group = np.asarray(example_group)
  steps = -(-len(example_group) // batch_size)
  if batching == 'natural':
    order = _generator(seed, epoch, 0).permutation(len(example_group))
    plan = np.full(steps * batch_size, -1, np.int32)
    plan[: len(order)] = order
    return plan.reshape(steps, batch_size)
  sizes = np.bincount(example_group, minlength=num_groups)
  counts = group_batch_sizes(sizes, batch_size, batching)
  members = np.split(
    np.argsort(example_group, kind='stable').astype(np.int32),
    np.cumsum(sizes)[:-1],
  )
  blocks = [
    _stream(member, steps * b, seed, epoch, group).reshape(steps, b)
    for group, (member, b) in enumerate(zip(members, counts))
  ]
  return np.concatenate(blocks, axis=1)


def _stream(members, length, seed, epoch, group):
  """The first `length` numbers of endless shuffles of `members`."""
  generator = _generator(seed, epoch, group + 1)
  rounds = -(-length // len(members))
  shuffles = [generator.permutation(members) for _ in range(rounds)]
  return np.concatenate(shuffles)[:length]


def _generator(seed, epoch, stream):
  sequence = np.random.SeedSequence([seed, epoch, stream])
  return np.random.Generator(np.random.Philox(sequence))


def stack_plan(
  plan: np.ndarray, example_group: np.ndarray, num_groups: int, capacity: int
) -> np.ndarray:
  """The same batches with one row per group, i32[S, G, capacity].

  Empty places hold -1. `capacity` is the largest b_j, or B if they vary.
  """
  steps, batch_size = plan.shape
  group = np.where(
    plan >= 0, np.asarray(example_group)[np.maximum(plan, 0)], num_groups
  )
  order = np.argsort(group, axis=1, kind='stable')
  plan = np.take_along_axis(plan, order, axis=1)
  group = np.take_along_axis(group, order, axis=1)
  counts = (group[:, :, None] == np.arange(num_groups)).sum(axis=1)
  starts = np.cumsum(counts, axis=1) - counts
  starts = np.concatenate([starts, np.zeros((steps, 1), np.int64)], axis=1)
  place = np.arange(batch_size) - np.take_along_axis(starts, group, axis=1)
  stacked = np.full((steps, num_groups, capacity), -1, np.int32)
  step = np.broadcast_to(np.arange(steps)[:, None], plan.shape)
  real = group < num_groups
  stacked[step[real], group[real], place[real]] = plan[real]
  return stacked
