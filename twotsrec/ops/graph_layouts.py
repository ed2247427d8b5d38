"""Layouts of a sparse matrix for its product with a table.

'bcsr', compressed rows, has a native kernel on CPUs that uses all cores.
'segments' gathers the neighbors of all rows and adds them up by row: one fused
kernel on a GPU, .09 (64 columns) to .23 (192) of the time of 'buckets' on an
H100. The order of a sum is free there, and with it its last bits.
'buckets' puts rows of similar length together and adds up neighbor after
neighbor, for all of them at once and without any scatter, which other
accelerators are slow at.
"""

from typing import NamedTuple

import jax
from jax.experimental import sparse
import jax.numpy as jnp
import numpy as np

# The layout of a backend; that of others is 'buckets'.
_LAYOUT_ON = {'cpu': 'bcsr', 'gpu': 'segments'}
# Rows are filled up to the next of these, at a cost of a fifth on taobao-copf.
# Longer rows are cut, and their parts summed by the next level.
_WIDTHS = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256)
_STEP = 8  # neighbors of a row added at a time, in one fused loop


class Csr(NamedTuple):
  """Compressed rows, columns ascending in each of them.

  Attributes:
    values: f32[E].
    columns: i32[E].
    offsets: i32[n + 1], where each row begins.
  """

  values: jax.Array
  columns: jax.Array
  offsets: jax.Array

  @property
  def num_nodes(self) -> int:
    """n, rows."""
    return self.offsets.shape[0] - 1


class Segments(NamedTuple):
  """Compressed rows that also tell the row of each entry.

  Attributes:
    csr: the same entries.
    rows: i32[E], ascending.
  """

  csr: Csr
  rows: jax.Array

  @property
  def num_nodes(self) -> int:
    """n."""
    return self.csr.num_nodes


class Bucket(NamedTuple):
  """Rows of similar length, filled with weights of 0.

  Attributes:
    weights: f32[steps, T, R], of T neighbors of each of R rows.
    columns: i32[steps, T, R].
  """

  weights: jax.Array
  columns: jax.Array


class Buckets(NamedTuple):
  """Levels of sums; every level but the first sums parts of the one before.

  Attributes:
    levels: buckets of each level.
    order: i32[n], where a row stands in the last level.
  """

  levels: tuple[tuple[Bucket, ...], ...]
  order: jax.Array

  @property
  def num_nodes(self) -> int:
    """n."""
    return self.order.shape[0]


Adjacency = Csr | Segments | Buckets


def of_backend() -> str:
  """The layout that 'auto' stands for here."""
  return _LAYOUT_ON.get(jax.default_backend(), 'buckets')


def make(
  layout: str, offsets: np.ndarray, columns: np.ndarray, values: np.ndarray
) -> Adjacency:
  """Lays out compressed rows; on the host.

  Args:
    layout: of `NAMES`, or 'auto': that of the backend.
    offsets: i64[n + 1], where each row begins.
    columns: i64[E], ascending in each row.
    values: f32[E].
  """
  layout = of_backend() if layout == 'auto' else layout
  return _MAKERS[layout](offsets, columns, values)


@jax.custom_batching.custom_vmap
def product(adjacency: Adjacency, x: jax.Array) -> jax.Array:
  """A x, f32[n, D], for x f32 or bf16 with a row for each column; f32 sums."""
  if isinstance(adjacency, Csr):
    return _csr_product(adjacency, x)
  if isinstance(adjacency, Segments):
    return _segments_product(adjacency, x)
  return _buckets_product(adjacency, x)


@product.def_vmap
def _stack_columns(axis_size, is_batched, adjacency, x):
  """The products with x[B, n, D] as one, with f32[n, B * D]."""
  del axis_size, is_batched  # only x can be a batch
  batch, num_columns, width = x.shape
  wide = jnp.moveaxis(x, 0, 1).reshape(num_columns, batch * width)
  sums = product(adjacency, wide).reshape(-1, batch, width)
  return jnp.moveaxis(sums, 1, 0), True


def _csr_product(adjacency, x):
  matrix = sparse.BCSR(
    (adjacency.values, adjacency.columns, adjacency.offsets),
    shape=(adjacency.num_nodes, x.shape[0]),
    indices_sorted=True,
    unique_indices=True,
  )
  if x.dtype == jnp.float32:
    return matrix @ x
  # The kernel wants one type. A cast back is taken out by the compiler with
  # the cast before it, rounding is not.
  kept = jnp.finfo(x.dtype)
  full = x.astype(jnp.float32)
  return matrix @ jax.lax.reduce_precision(full, kept.nexp, kept.nmant)


def _segments_product(adjacency, x):
  values, columns, _ = adjacency.csr
  neighbors = x.at[columns].get(mode='promise_in_bounds')
  return jax.ops.segment_sum(
    values[:, None] * neighbors,
    adjacency.rows,
    num_segments=adjacency.num_nodes,
    indices_are_sorted=True,
  )


def _buckets_product(adjacency, x):
  for level in adjacency.levels:
    x = jnp.concatenate([_bucket_sums(bucket, x) for bucket in level])
  return x.at[adjacency.order].get(mode='promise_in_bounds')


def _bucket_sums(bucket, x):
  """Weighted sums of rows of x, f32[R, D]."""

  def add(sums, neighbors):
    for weight, column in zip(*neighbors):
      row = x.at[column].get(mode='promise_in_bounds')
      sums += weight[:, None] * row
    return sums, None

  num_rows = bucket.columns.shape[-1]
  zeros = jnp.zeros((num_rows, x.shape[1]), jnp.float32)
  return jax.lax.scan(add, zeros, bucket)[0]


def _i32(values: np.ndarray) -> jax.Array:
  return jnp.asarray(values, jnp.int32)


def _csr(offsets, columns, values):
  return Csr(jnp.asarray(values), _i32(columns), _i32(offsets))


def _segments(offsets, columns, values):
  rows = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
  return Segments(_csr(offsets, columns, values), _i32(rows))


def _buckets(offsets, columns, values):
  """Lays out compressed rows; `order` is that of the last level."""
  levels = []
  while True:
    level, offsets, columns = _level(offsets, columns, values)
    values = np.ones(len(columns), np.float32)
    levels.append(level)
    if len(columns) == len(offsets) - 1:  # a part for every row
      return Buckets(tuple(levels), _i32(columns))


def _level(offsets, columns, values):
  """Buckets, i64[n + 1] offsets of the rows' parts, i64[parts] their places."""
  lengths = np.diff(offsets)
  parts = np.maximum(-(-lengths // _WIDTHS[-1]), 1)
  part_offsets = np.concatenate([[0], np.cumsum(parts)])
  row = np.repeat(np.arange(len(parts)), parts)
  skipped = (np.arange(len(row)) - part_offsets[row]) * _WIDTHS[-1]
  starts = offsets[row] + skipped
  widths = np.minimum(lengths[row] - skipped, _WIDTHS[-1])
  kinds = np.searchsorted(_WIDTHS, widths)
  buckets, position, filled = [], np.zeros(len(row), np.int64), 0
  for kind in np.unique(kinds):
    members = np.flatnonzero(kinds == kind)
    bucket = _bucket(
      starts[members], widths[members], _WIDTHS[kind], columns, values
    )
    position[members] = filled + np.arange(len(members))
    filled += len(members)
    buckets.append(bucket)
  return tuple(buckets), part_offsets, position


def _bucket(starts, lengths, width, columns, values):
  """Rows `columns[start:start + length]`, neighbor by neighbor."""
  neighbor = np.arange(width)[:, None]
  # Place -1 is the filling: node 0 with weight 0.
  place = np.where(neighbor < lengths, starts + neighbor, -1)
  place = place.reshape(-1, min(width, _STEP), len(starts))
  columns, values = np.append(columns, 0), np.append(values, 0.0)
  return Bucket(jnp.asarray(values[place], jnp.float32), _i32(columns[place]))


_MAKERS = {'bcsr': _csr, 'segments': _segments, 'buckets': _buckets}
NAMES = tuple(_MAKERS)
