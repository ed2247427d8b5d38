"""A planted log of clicks, and 2TS at the size of it."""

import atexit
from collections.abc import Iterator
import contextlib
import functools
import pathlib
import shutil
import tempfile
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from tests import configured
from twotsrec import config as config_lib
from twotsrec import contracts
from twotsrec.data import groups as groups_lib
from twotsrec.data import prepared as prepared_lib
from twotsrec.data import stream_feeds
from twotsrec.data import stream_jobs
from twotsrec.evaluation import online_states
from twotsrec.models import two_rnn
from twotsrec.objectives import streams as stream_objectives
from twotsrec.ops import recurrence
from twotsrec.recipes.two_time import networks
from twotsrec.runs import run as runs_lib
from twotsrec.training import loop
from twotsrec.training import phases

WIDTH, THRESHOLD, WINDOW = 6, 6, 4
_ROLLED = functools.partial(recurrence.scan, unroll=1)
CELLS = ('gru', 'lstm', 'residual', 'scaled_gru')
# Few users, few steps, and no more than one program of a kind.
SETTINGS = {
  'model.name': 'two_time_scale',
  'model.width': WIDTH,
  'groups.num_groups': 3,
  'two_time.threshold': THRESHOLD,
  'two_time.window': WINDOW,
  'two_time.negatives': 3,
  'two_time.stage1_epochs': (1,),
  'two_time.stage1_batch': 64,
  'two_time.tokens': 64,
  'two_time.epochs': 2,
  'two_time.single_stage_epochs': 2,
  'two_time.evaluation_lists': 10,
  'train.checkpoint_every': 0.0,
  'plugin.epochs': 1,
  'evaluation.bootstrap': 20,
}


@functools.cache
def folder() -> pathlib.Path:
  """Where finished runs are kept, for this process."""
  path = pathlib.Path(tempfile.mkdtemp(prefix='twotsrec-'))
  atexit.register(shutil.rmtree, path, ignore_errors=True)
  return path


@contextlib.contextmanager
def small_programs() -> Iterator[None]:
  """Short scans and few shapes, which are quick to compile."""
  with (
    mock.patch.object(recurrence, 'scan', _ROLLED),
    mock.patch.object(online_states, '_STREAMS', 8),
    mock.patch.object(online_states, '_LENGTH', 8),
  ):
    yield


def config(**changes) -> config_lib.Config:
  """2TS at this size; `two_time__window=3` changes two_time.window."""
  return configured.by(settings(**changes))


def settings(**changes) -> dict[str, Any]:
  """The same, {setting: value}."""
  named = configured.paths(changes)
  made = {**SETTINGS, **named}
  for name in _unread(made).difference(named):
    del made[name]
  return made


def _unread(settings) -> set[str]:
  """Settings that the variant does not read, which are refused."""
  variant = settings.get('two_time.variant', '2ts')
  if variant.startswith('single_stage'):
    names = ('stage1_epochs', 'stage1_batch', 'epochs')
  elif variant == 'ccf' and len(settings['two_time.stage1_epochs']) == 1:
    names = ('single_stage_epochs', 'epochs', 'tokens')
  else:
    names = ('single_stage_epochs',)
  return {f'two_time.{name}' for name in names}


def planted(
  num_users: int,
  num_items: int,
  *,
  longest: int = 60,
  alpha: float = 1.2,
  mean: float = 1.0,
  spread: float = 1.0,
  arrival: float = 0.0,
  seed: int = 0,
) -> prepared_lib.Prepared:
  """Softmax clicks of a shared mean taste and an offset of each user.

  Activity falls like (T + 1)^-alpha up to `longest`. Tastes stand still and
  order means nothing. Users come at any time up to `arrival` and stay to the
  end, 1. The first 70 % of the clicks of all are train events, the next 10 %
  validation, so some users come later than that.
  """
  generator = np.random.default_rng(seed)
  weight = np.arange(1, longest + 1) ** -alpha
  count = 1 + generator.choice(longest, num_users, p=weight / weight.sum())
  user = np.repeat(np.arange(num_users), count)
  taste = spread * generator.normal(size=(num_users, 8))
  taste[:, 0] += mean
  item_vectors = generator.normal(size=(num_items, 8))
  # The largest of scores with Gumbel noise is a draw of the softmax.
  scores = taste @ item_vectors.T
  noise = generator.gumbel(size=(len(user), num_items))
  item = 1 + np.argmax(scores[user] + noise, axis=1)
  place = generator.permutation(len(user)) / len(user)
  begin = arrival * generator.random(num_users)[user]
  place = np.argsort(np.argsort(begin + (1 - begin) * place)) / len(user)
  split = np.searchsorted([0.7, 0.8], place, side='right')
  order = np.lexsort((place, user))
  return prepared_lib.build(
    user[order].astype(np.int32),
    item[order].astype(np.int32),
    split[order].astype(np.int8),
    user_ids=np.arange(num_users) + 100,
    item_ids=np.arange(num_items) + 1000,
    source='planted',
    options={'split': ['given']},
  )


@functools.cache
def log() -> tuple[prepared_lib.Prepared, groups_lib.Groups]:
  """A small planted log: (prepared, three activeness groups)."""
  prepared = planted(48, 20, longest=24)
  options = config_lib.GroupConfig(num_groups=3)
  return prepared, groups_lib.assign(prepared, options)


def sigmoid(x: np.ndarray) -> np.ndarray:
  """In float64."""
  return 1.0 / (1.0 + np.exp(-np.asarray(x, np.float64)))


def literal_step(name: str, params, item, state) -> np.ndarray:
  """A cell's equations for one user: f64[D], f64[S] -> f64[S]."""
  params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
  width = len(item)
  scale = params.get('scale', 1.0)
  hidden = state[:width] / scale
  of_item = item @ params['input']['kernel'] + params['input']['bias']
  kernel, bias = params['recurrent']['kernel'], params['recurrent']['bias']
  x = of_item.reshape(-1, width)
  h = (hidden @ kernel + bias).reshape(-1, width)
  if name == 'lstm':
    write, keep, show = (sigmoid(x[j] + h[j]) for j in (0, 1, 3))
    memory = keep * state[width:] + write * np.tanh(x[2] + h[2])
    return np.concatenate([show * np.tanh(memory), memory])
  reset, update = sigmoid(x[0] + h[0]), sigmoid(x[1] + h[1])
  new = np.tanh(x[2] + reset * h[2])
  if name == 'residual':
    out = params['out']
    return state + ((1 - update) * new) @ out['kernel'] + out['bias']
  return scale * ((1 - update) * new + update * hidden)


def cell_params(name: str, width: int = WIDTH, seed: int = 0) -> dict:
  """Parameters of a cell, far from their start; biases too."""
  options = config(two_time__cell=name).two_time
  start = two_rnn.init_cell(jax.random.key(seed), options, width)
  generator = np.random.default_rng(seed)
  draw = lambda leaf: (0.5 * generator.normal(size=leaf.shape)).astype('f4')
  params = jax.device_put(jax.tree.map(draw, start))
  if 'scale' in params:
    params['scale'] = jnp.float32(1.7)
  return params


class Event(NamedTuple):
  """What a network says of an event, one by one, in float64.

  Attributes:
    state: before it, [S].
    after: behind it.
    query: what its scores are products of, [D].
    loss: of the event among itself and its negatives.
  """

  state: np.ndarray
  after: np.ndarray
  query: np.ndarray
  loss: float


def play(net, name, runs, *, user=None, entering=None) -> dict[int, Event]:
  """Every run by itself, event by event, in plain Python: {event: Event}.

  Args:
    net: of a part.
    name: of the cell.
    runs: streams.Runs of the small log.
    user: f32[U, D], what runs start at; psi if None.
    entering: {event: state} that runs go on from there, whatever came before.
  """
  prepared, _ = log()
  items, offered = np.asarray(prepared.items), negatives()
  owner = prepared.event_users
  extractor = jax.tree.map(
    lambda leaf: np.asarray(leaf, np.float64), net['extractor']
  )
  vector = np.asarray(vectors().item, np.float64)
  found = {}
  for start, length in zip(runs.start.tolist(), runs.length.tolist()):
    own = extractor['psi'] if user is None else user[owner[start]]
    state = np.zeros(recurrence.CELLS[name].states * WIDTH)
    state[: len(own)] = own
    for event in range(start, start + length):
      state = (entering or {}).get(event, state)
      query, item = state[:WIDTH], items[event]
      if 'readout' in extractor:
        first = event == prepared.user_offsets[owner[event]]
        before = np.zeros(WIDTH) if first else vector[items[event - 1]]
        query = np.concatenate([query, before]) @ extractor['readout']
      offer = [item, *(j for j in offered[event] if j != item)]
      scores = vector[offer] @ query
      after = literal_step(name, extractor['cell'], vector[item], state)
      loss = np.log(np.sum(np.exp(scores))) - scores[0]
      found[event] = Event(state, after, query, loss)
      state = after
  return found


def mean_loss(events: dict[int, Event]) -> float:
  """Over all events."""
  return float(np.mean([event.loss for event in events.values()]))


def assert_gradient(grads, loss, net, skip=('scale',), step=1e-5) -> None:
  """A gradient against differences of a loss in float64, leaf by leaf.

  Args:
    grads: like the network.
    loss: net -> float.
    net: where the gradient was taken.
    skip: names of leaves that are not trained.
  """
  leaves, structure = jax.tree_util.tree_flatten_with_path(net)
  generator = np.random.default_rng(5)
  for number, (path, leaf) in enumerate(leaves):
    if path[-1].key in skip:
      continue
    direction = generator.normal(size=leaf.shape)
    direction /= np.linalg.norm(direction)

    def moved(size, number=number, direction=direction):
      others = [np.asarray(x, np.float64) for _, x in leaves]
      others[number] = others[number] + size * direction
      return loss(jax.tree.unflatten(structure, others))

    expected = (moved(step) - moved(-step)) / (2 * step)
    actual = np.sum(np.asarray(jax.tree.leaves(grads)[number]) * direction)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


def random_like(tree, scale: float = 0.5, seed: int = 0):
  """Normal numbers in the shape of a tree."""
  generator = np.random.default_rng(seed)
  draw = lambda leaf: (scale * generator.normal(size=leaf.shape)).astype('f4')
  return jax.device_put(jax.tree.map(draw, tree))


@functools.cache
def prepared_path() -> str:
  """The small log as a prepared directory."""
  path = str(folder() / 'prepared')
  prepared_lib.save(log()[0], path)
  return path


def train(name: str, **changes) -> pathlib.Path:
  """Directory of a run on the small log; one of the same name resumes."""
  workdir = folder() / name
  made = config(data__prepared=prepared_path(), **changes)
  with small_programs():
    runs_lib.train(made, str(workdir), quiet=True)
  return workdir


@functools.cache
def vectors() -> stream_objectives.Vectors:
  """Of the items and users of the small log."""
  prepared, _ = log()
  made = random_like(
    stream_objectives.Vectors(
      jax.ShapeDtypeStruct((prepared.num_items + 1, WIDTH), jnp.float32),
      jax.ShapeDtypeStruct((prepared.num_users, WIDTH), jnp.float32),
    ),
    scale=0.7,
  )
  return made._replace(item=made.item.at[0].set(0.0))


def jobs(**changes) -> dict[str, stream_jobs.Job]:
  """Jobs of a variant on the small log, by the name of their part."""
  prepared, groups = log()
  made = stream_jobs.make(prepared, groups, config(**changes).two_time)
  return {job.part.name: job for job in made}


def experiment(**changes) -> contracts.Experiment:
  """Of the small log, without a system."""
  return contracts.Experiment(config(**changes), *log())


def work(workdir: pathlib.Path) -> contracts.Work:
  """Trains every phase in a folder of its own, as a run does."""

  def fit(name, learner, source, how, start=None):
    assert start is None
    phase, place = phases.make(learner, source, how), workdir / name
    place.mkdir(parents=True, exist_ok=True)
    return loop.fit(phase, str(place), quiet=True)

  return contracts.Work(fit=fit, load=None, workdir=workdir)


def setting(**changes) -> networks.Setting:
  """Of the small log and its random vectors."""
  return networks.Setting(experiment(**changes), vectors())


def net(part: stream_jobs.Part, seed: int = 1, **changes):
  """A network of a part, far from its start."""
  made = networks.init_net(setting(**changes), part, jax.random.key(0))
  drawn = random_like(made, seed=seed)
  if 'scale' in drawn['extractor']['cell']:
    drawn['extractor']['cell']['scale'] = jnp.float32(1.3)
  return drawn


@functools.cache
def negatives(count: int = 3) -> np.ndarray:
  """Items offered beside those of every event, i32[N, p]."""
  prepared, _ = log()
  generator = np.random.default_rng(9)
  shape = (prepared.num_events, count)
  return generator.integers(1, prepared.num_items + 1, shape, np.int32)


def batch(job: stream_jobs.Job, entries) -> stream_feeds.Batch:
  """A step of a job with the negatives of `negatives`."""
  feed = stream_feeds.make_feed(log()[0], job.group)
  entries = np.asarray(entries, np.int32)
  own = negatives()[np.maximum(entries, 0) // 2]
  entries, own = jax.device_put((entries, own))
  return stream_feeds.look_up(feed, entries)._replace(negatives=own)
