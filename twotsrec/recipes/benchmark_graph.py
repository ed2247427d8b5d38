"""What graph products and the contrastive loss cost, beside SciPy's product.

The graph is that of all behaviors of a log, merged. Everything is compiled
first and then takes turns in one process; SciPy's product of the same matrix
with as many columns, the unit of a ratio, is timed right before it every time.
"""

from collections.abc import Callable, Iterator, Mapping
import functools
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.data import behaviors as behaviors_lib
from twotsrec.ops import contrastive
from twotsrec.ops import graph as graph_lib
from twotsrec.ops import graph_layouts
from twotsrec.recipes import benchmark
from twotsrec.recipes import copf
from twotsrec.runs import experiment as experiment_lib
from twotsrec.training import machine

_WIDTHS = (64, 192)  # of one table; of three, stacked
_CALLS = 5  # of a turn, so that it outlasts the jitter of a clock
_USERS = 256  # of a batch, authors of COPF
_SCIPY = 'scipy'


class Work(NamedTuple):
  """What a row times.

  Attributes:
    name: what is done.
    layout: of the graph; '' without one.
    width: columns of the tables.
    run: () -> None, returns when it is done; every call does the same.
    has_unit: whether SciPy's product of this width is its unit.
    calls: of a turn.
    compile_seconds: None where nothing is compiled.
  """

  name: str
  layout: str
  width: int
  run: Callable[[], Any]
  has_unit: bool = False
  calls: int = _CALLS
  compile_seconds: float | None = None


def measure(
  config: config_lib.Config,
  repeats: int,
  clock: str = 'wall',
  say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
  """Milliseconds per call of every row, and their ratios to SciPy.

  Args:
    config: data; samples, temperature and similarity of the contrastive loss.
    repeats: measured rounds over all rows, after one that warms up.
    clock: of `benchmark.CLOCKS`.
    say: told how far it has come.
  Returns:
    `rows`: name, layout, width; milliseconds; ratio `over_scipy`, null where
    SciPy has nothing to compare with; seconds of compilation.
  Raises:
    types.UserError: SciPy is not installed.
  """
  scipy_sparse = import_scipy_sparse()
  prepared = experiment_lib.load_data(config)
  log = behaviors_lib.of_prepared(prepared, config.data.strip_heldout)
  say('compiling')
  compressed = _merged_graph(log, 'bcsr')
  graphs = {
    layout: compressed if layout == 'bcsr' else _merged_graph(log, layout)
    for layout in _layouts()
  }
  units = {
    width: _scipy_product(scipy_sparse, compressed, width) for width in _WIDTHS
  }
  works = [*units.values(), *_products(graphs), *_contrasts(log, config)]
  turns = [[] for _ in works]
  for number in range(repeats + 1):
    say(f'round {number}/{repeats}' if number else 'warming up')
    for work, timed in zip(works, turns):
      unit = units[work.width] if work.has_unit else None
      turn = _turn(work, unit, benchmark.CLOCKS[clock])
      if number:
        timed.append(turn)
  return {
    'source': prepared.manifest['source'],
    'behaviors': list(log.names),
    'nodes': compressed.num_nodes,
    'entries': len(compressed.adjacency.values),
    'clock': clock,
    'rounds': repeats,
    'rows': [_shown(work, timed) for work, timed in zip(works, turns)],
    'peak_rss_mb': machine.peak_rss_mb(),
    'versions': machine.versions(),
  }


def train(dataset: config_lib.DataConfig, repeats: int) -> dict[str, Any]:
  """An epoch of COPF and its full ranking, as a run does them.

  Args:
    dataset: of `copf.preset`.
    repeats: measured rounds after one that warms up.
  Returns:
    Seconds of an epoch (compilation apart) and of ranking all items for all
    test users, metrics included; peak memory of this process.
  """
  config = copf.preset(dataset.dataset)
  config.data = dataset
  config.train.epochs = 1
  config.train.select_metric = 'none'
  experiment = experiment_lib.make(config, experiment_lib.load_data(config))
  epoch = benchmark.full_loop(experiment)
  num_steps = -(-experiment.behaviors.num_users // config.train.batch_size)
  epochs = [epoch()[0] * num_steps / 1e3 for _ in range(repeats + 1)]
  ranking = [benchmark.ranking_seconds(experiment) for _ in range(repeats + 1)]
  return {
    'steps_per_epoch': num_steps,
    'epoch_seconds': benchmark.summary(epochs[1:]),
    'ranking_seconds': benchmark.summary(ranking[1:]),
    'users': experiment.behaviors.num_users,
    'items': experiment.behaviors.num_items,
    'peak_rss_mb': machine.peak_rss_mb(),
  }


def table(measured: Mapping[str, Any]) -> list[list[str]]:
  """Cells of a table with its head, from what `measure` returns."""
  head = ['work', 'layout', 'columns', 'ms a call', '', 'over scipy', '']
  return [[*head, 'compile, s'], *map(_cells, measured['rows'])]


def import_scipy_sparse():
  """The module scipy.sparse, or one line that says how to get it."""
  try:
    import scipy.sparse
  except ImportError as error:
    raise types.UserError(
      'scipy is not installed, and suite graph compares with it; run: '
      "pip install -e '.[test]'"
    ) from error
  return scipy.sparse


def _layouts() -> tuple[str, ...]:
  """The layout of the backend, and the one without a native kernel."""
  return tuple(dict.fromkeys((graph_layouts.of_backend(), 'buckets')))


def _merged_graph(log: behaviors_lib.Behaviors, layout: str) -> graph_lib.Graph:
  pairs = [(behaviors_lib.users(seen), seen.items) for seen in log.train]
  sizes = log.num_users, log.num_items
  return graph_lib.from_pairs(pairs, *sizes, 'left', 'merged', layout)


def _table_of(num_rows: int, width: int) -> np.ndarray:
  normal = np.random.default_rng(0).normal(size=(num_rows, width))
  return normal.astype(np.float32)


def _scipy_product(scipy_sparse, graph: graph_lib.Graph, width: int) -> Work:
  """A x, one core, without the scaling that the other rows include."""
  rows = tuple(map(np.asarray, graph.adjacency))
  matrix = scipy_sparse.csr_array(rows, shape=(graph.num_nodes,) * 2)
  x = _table_of(graph.num_nodes, width)
  return Work('product', _SCIPY, width, lambda: matrix @ x, has_unit=True)


def _products(graphs: Mapping[str, graph_lib.Graph]) -> Iterator[Work]:
  def with_gradient(graph, x):
    product, pull = jax.vjp(functools.partial(graph_lib.propagate, graph), x)
    return product, pull(x)[0]

  for width in _WIDTHS:
    for layout, graph in graphs.items():
      x = jnp.asarray(_table_of(graph.num_nodes, width))
      for name, function in (
        ('product', graph_lib.propagate),
        ('product and gradient', with_gradient),
      ):
        yield _compiled(
          Work(name, layout, width, function, has_unit=True), graph, x
        )


def _contrasts(
  log: behaviors_lib.Behaviors, config: config_lib.Config
) -> Iterator[Work]:
  """Value and gradients for the anchors of a batch, one side at a time."""
  options = config.behavior
  users, items = _draw_anchors(log, options.samples)
  value_and_gradients = jax.value_and_grad(
    lambda anchors, table, weights, positives: contrastive.info_nce(
      anchors,
      weights,
      positives,
      table,
      options.temperature,
      options.similarity,
    ),
    argnums=(0, 1),
  )
  for side, (ids, counts), size in (
    ('users', users, log.num_users),
    ('items', items, log.num_items),
  ):
    tables = jnp.asarray(_table_of(2 * size, _WIDTHS[0]))
    target, other = jnp.split(tables, 2)
    work = Work(
      f'contrast of {len(ids)} {side}', '', _WIDTHS[0], value_and_gradients
    )
    yield _compiled(
      work, target[ids], other, jnp.asarray(counts), jnp.asarray(ids)
    )


def _draw_anchors(log, samples):
  """Users and items of the target's pairs in a batch, and how often there."""
  rng = np.random.default_rng(0)
  target = log.train[-1]
  chosen = rng.permutation(log.num_users)[:_USERS]
  drawn = [
    rng.permutation(target.items[target.offsets[u] : target.offsets[u + 1]])
    for u in chosen
  ]
  drawn = [items[:samples] for items in drawn]
  items, counts = np.unique(np.concatenate(drawn) - 1, return_counts=True)
  user_counts = np.array([len(items) for items in drawn])
  as_weights = lambda counts: counts.astype(np.float32)
  return (chosen, as_weights(user_counts)), (items, as_weights(counts))


def _compiled(work: Work, *arguments: Any) -> Work:
  """The work with its function compiled for the arguments and bound to them."""
  begin = time.perf_counter()
  compiled = jax.jit(work.run).lower(*arguments).compile()
  return work._replace(
    run=lambda: jax.block_until_ready(compiled(*arguments)),
    compile_seconds=time.perf_counter() - begin,
  )


def _turn(work, unit, clock):
  """Milliseconds per call, of the work and, right before, of its unit."""
  of_unit = _milliseconds(unit, clock) if unit else None
  return of_unit if work is unit else _milliseconds(work, clock), of_unit


def _milliseconds(work, clock):
  begin = clock()
  for _ in range(work.calls):
    work.run()
  return (clock() - begin) / work.calls * 1e3


def _shown(work, timed):
  """A row for JSON."""
  ratios = [own / unit for own, unit in timed if unit]
  seconds = work.compile_seconds
  return {
    'name': work.name,
    'layout': work.layout,
    'width': work.width,
    'milliseconds': benchmark.summary([own for own, _ in timed]),
    'over_scipy': benchmark.summary(ratios) if ratios else None,
    'compile_seconds': None if seconds is None else round(seconds, 2),
  }


def _cells(row):
  seconds = row['compile_seconds']
  return [
    row['name'],
    row['layout'],
    str(row['width']),
    *benchmark.spread(row['milliseconds']),
    *benchmark.spread(row['over_scipy']),
    '' if seconds is None else f'{seconds:.1f}',
  ]
