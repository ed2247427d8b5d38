"""Times graph products and the contrastive loss beside SciPy's product.

The graph is that of all behaviors of a log, merged. SciPy's product of the same
matrix with as many columns is the unit of a ratio.
"""

from collections.abc import Callable, Iterator, Mapping
import functools
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import sparse

import timing
import training_loop
from twotsrec import config as config_lib
from twotsrec.data import behaviors as behaviors_lib
from twotsrec.ops import contrastive
from twotsrec.ops import graph as graph_lib
from twotsrec.ops import graph_layouts
from twotsrec.presets import copf
from twotsrec.runs import experiment as experiment_lib
from twotsrec.training import machine

_WIDTHS = (64, 192)  # of one table; of three, stacked
_CALLS = 5  # of a turn, so that it outlasts the jitter of a clock
_USERS = 256  # of a batch, authors of COPF


def measure(
  config: config_lib.Config,
  repeats: int,
  clock: str = 'wall',
  say: timing.Say = timing.say_nothing,
) -> dict[str, Any]:
  """Milliseconds per call of every row, and their ratios to SciPy.

  Args:
    config: data; samples, temperature and similarity of the contrastive loss.
    repeats: as `timing.measure`, and so `clock` and `say`.
  Returns:
    `rows`: name, layout ('' without a graph), width; milliseconds; ratio
    `over_scipy`, null where SciPy has nothing to compare with; seconds of
    compilation.
  """
  prepared = experiment_lib.load_data(config)
  log = behaviors_lib.of_prepared(prepared, config.data.strip_heldout)
  say('compiling')
  compressed = _merged_graph(log, 'bcsr')
  graphs = {
    layout: compressed if layout == 'bcsr' else _merged_graph(log, layout)
    for layout in _layouts()
  }
  units = [_scipy_product(compressed, width) for width in _WIDTHS]
  works = [*units, *_products(graphs), *_contrasts(log, config)]
  return {
    'source': prepared.manifest['source'],
    'behaviors': list(log.names),
    'nodes': compressed.num_nodes,
    'entries': len(compressed.adjacency.values),
    **timing.measure(works, timing.MILLISECONDS, repeats, clock, say),
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
  epoch = training_loop.full_loop(experiment)
  num_steps = -(
    -experiment.system.behaviors.num_users // config.train.batch_size
  )
  epochs = [epoch()[0] * num_steps / 1e3 for _ in range(repeats + 1)]
  ranking = [
    training_loop.ranking_seconds(experiment) for _ in range(repeats + 1)
  ]
  return {
    'steps_per_epoch': num_steps,
    'epoch_seconds': timing.summary(epochs[1:]),
    'ranking_seconds': timing.summary(ranking[1:]),
    'users': experiment.system.behaviors.num_users,
    'items': experiment.system.behaviors.num_items,
    'peak_rss_mb': machine.peak_rss_mb(),
  }


def _layouts() -> tuple[str, ...]:
  """The layout of the backend, and the one without a native kernel."""
  return tuple(dict.fromkeys((graph_layouts.of_backend(), 'buckets')))


def _merged_graph(log: behaviors_lib.Behaviors, layout: str) -> graph_lib.Graph:
  pairs = [(seen.users, seen.items) for seen in log.train]
  sizes = log.num_users, log.num_items
  return graph_lib.from_pairs(pairs, *sizes, 'left', 'merged', layout)


def _table_of(num_rows: int, width: int) -> np.ndarray:
  normal = np.random.default_rng(0).normal(size=(num_rows, width))
  return normal.astype(np.float32)


def _scipy_product(graph: graph_lib.Graph, width: int) -> timing.Work:
  """A x, one core, without the scaling that the other rows include."""
  rows = tuple(map(np.asarray, graph.adjacency))
  matrix = sparse.csr_array(rows, shape=(graph.num_nodes,) * 2)
  x = _table_of(graph.num_nodes, width)
  return _work('product', 'scipy', width, lambda: matrix @ x)


def _products(graphs: Mapping[str, graph_lib.Graph]) -> Iterator[timing.Work]:
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
        yield _work(name, layout, width, *_compiled(function, graph, x))


def _contrasts(
  log: behaviors_lib.Behaviors, config: config_lib.Config
) -> Iterator[timing.Work]:
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
    arrays = target[ids], other, jnp.asarray(counts), jnp.asarray(ids)
    name = f'contrast of {len(ids)} {side}'
    yield _work(name, '', _WIDTHS[0], *_compiled(value_and_gradients, *arrays))


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


def _compiled(
  function: Callable[..., Any], *arguments: Any
) -> tuple[Callable[[], Any], float]:
  """The function compiled for the arguments and bound to them; seconds."""
  begin = time.perf_counter()
  compiled = jax.jit(function).lower(*arguments).compile()
  seconds = time.perf_counter() - begin
  return lambda: jax.block_until_ready(compiled(*arguments)), seconds


def _work(name, layout, width, run, compile_seconds=None):
  """A row; products, which have a graph, are compared with SciPy's."""

  def several():
    for _ in range(_CALLS - 1):
      run()
    return run()

  labels = lambda name, layout: {'name': name, 'layout': layout, 'width': width}
  return timing.Work(
    labels=labels(name, layout),
    run=several,
    amount=_CALLS,
    bases={'over_scipy': labels('product', 'scipy') if layout else None},
    compile_seconds=compile_seconds,
  )
