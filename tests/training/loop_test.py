import functools
import itertools
import logging
import random

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests import runs
from tests import worlds
from twotsrec import config as config_lib
from twotsrec import objectives
from twotsrec import types
from twotsrec.aggregators import linear
from twotsrec.data import feeds
from twotsrec.data import plans
from twotsrec.training import checkpoints
from twotsrec.training import loop
from twotsrec.training import run_directory
from twotsrec.training import steps

GROUPS, LENGTH, BATCH, EPOCHS = 3, 5, 4, 3
SAVES = 8  # in the middle and at the end of epochs, and two best ones
_TIMED = ('train_seconds', 'wait_seconds', 'compile_seconds')
_COMPILE = loop._compile  # before the fixture below puts itself in its place


class Crash(BaseException):
  """Where a process would have been killed."""


def _restless(params):
  """A loss that goes up and down from epoch to epoch, by the last bits."""
  return {'loss': float(np.asarray(params.net['kernel']).sum() * 1e4 % 1.0)}


@functools.cache
def _optimizer():
  return optax.adam(0.05)


@functools.cache
def _phase():
  prepared, groups = worlds.log()
  data = config_lib.DataConfig(history_length=LENGTH)
  feed = feeds.make_feed(prepared, groups, data)
  group = np.asarray(feed.group)
  batch_of = functools.partial(
    feeds.make_batch, history_length=LENGTH, num_negatives=2, num_items=30
  )
  gradient = steps.make_gradient(
    objectives.sampled_bce(worlds.mean_model()),
    linear.backdoor(),
    jnp.asarray(groups.sizes, jnp.float32),
    'fused',
  )
  return loop.Phase(
    runner=steps.make_runner(steps.make_step(gradient, _optimizer()), batch_of),
    context={},
    feed=feed,
    plan_of=lambda epoch: plans.make_plan(
      group, GROUPS, BATCH, 'proportional', 0, epoch
    ),
    negative_key=lambda epoch: jax.random.fold_in(jax.random.key(7), epoch),
    num_losses=GROUPS,
    evaluate=_restless,
  )


@functools.cache
def _params():
  sizes = types.Sizes(12, 30, LENGTH)
  return jax.device_get(worlds.mean_model().init(jax.random.key(0), {}, sizes))


def _start():
  # A copy: the memory of the state is donated.
  params = jax.tree.map(jnp.array, _params())
  return steps.init_state(params, _optimizer(), (), jax.random.key(3))


@functools.cache
def _compiled():
  state = {'train': _start(), 'totals': steps.init_totals(GROUPS)}
  return _COMPILE(_phase(), state, loop._first_host_state())


@pytest.fixture(autouse=True)
def compiled_once(monkeypatch):
  """Compiles the updates once for all tests of this file."""
  monkeypatch.setattr(loop, '_compile', lambda phase, live, host: _compiled())


def _config(**changes):
  return config_lib.TrainConfig(
    **{'epochs': EPOCHS, 'checkpoint_every': 0.0, **changes}
  )


def _fit(workdir, phase=None, should_stop=lambda: False, **changes):
  return loop.fit(
    phase or _phase(),
    _start(),
    _config(**changes),
    str(workdir),
    should_stop,
    quiet=True,
  )


def _untimed(host):
  return {k: v for k, v in host.items() if k not in (*_TIMED, 'metrics_bytes')}


@pytest.fixture(scope='module')
def uninterrupted(tmp_path_factory):
  """Directory and outcome of a run that nothing disturbed."""
  workdir = tmp_path_factory.mktemp('uninterrupted')
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(loop, '_compile', lambda phase, live, host: _compiled())
    fitted = _fit(workdir)
  return workdir, fitted


def _assert_same(workdir, fitted, uninterrupted):
  expected_workdir, expected = uninterrupted
  runs.assert_same_arrays(fitted.params, expected.params)
  assert _untimed(fitted.host) == _untimed(expected.host)
  assert runs.untimed_metrics(workdir) == runs.untimed_metrics(expected_workdir)
  template = {'params': expected.params}
  step = expected.host['best'][0]['step']
  best = [
    checkpoints.restore(run_directory.best_path(w), template, step).state
    for w in (workdir, expected_workdir)
  ]
  runs.assert_same_arrays(*best)


class _Crashing:
  """`checkpoints.save` that is killed before or after some of its calls."""

  def __init__(self, kills):
    self.kills, self.count, self.save = kills, 0, checkpoints.save

  def __call__(self, *arguments, **options):
    number, self.count = self.count, self.count + 1
    when = self.kills.get(number)
    if when == 'before':
      raise Crash
    path = self.save(*arguments, **options)
    if when == 'after':
      raise Crash
    return path


def test_the_world_saves_in_the_middle_of_epochs(tmp_path, monkeypatch):
  saved = []
  save = checkpoints.save

  def listen(folder, step, *rest, **options):
    saved.append((folder.name, step))
    return save(folder, step, *rest, **options)

  monkeypatch.setattr(checkpoints, 'save', listen)
  fitted = _fit(tmp_path)
  steps_per_epoch = len(_phase().plan_of(0))
  ends = [steps_per_epoch * (e + 1) for e in range(EPOCHS)]
  latest = [step for folder, step in saved if folder == 'latest']
  assert set(ends) < set(latest)
  assert all(
    any(end - steps_per_epoch < step < end for step in latest) for end in ends
  )
  bests = [step for folder, step in saved if folder == 'best']
  assert bests[-1] == fitted.host['best'][0]['step'] and len(bests) >= 2
  assert len(saved) >= SAVES


@pytest.mark.parametrize('number', range(SAVES))
def test_killed_before_any_save_it_ends_with_the_same_bits(
  tmp_path, monkeypatch, uninterrupted, number
):
  with monkeypatch.context() as patch:
    patch.setattr(checkpoints, 'save', _Crashing({number: 'before'}))
    with pytest.raises(Crash):
      _fit(tmp_path)
  _assert_same(tmp_path, _fit(tmp_path), uninterrupted)


def test_killed_again_and_again_it_ends_with_the_same_bits(
  tmp_path, monkeypatch, uninterrupted
):
  generator = random.Random(0)
  crashes = 0
  while True:
    kill = {generator.randint(1, 2): generator.choice(('before', 'after'))}
    try:
      with monkeypatch.context() as patch:
        patch.setattr(checkpoints, 'save', _Crashing(kill))
        fitted = _fit(tmp_path)
    except Crash:
      crashes += 1
      continue
    break
  assert crashes >= 3
  _assert_same(tmp_path, fitted, uninterrupted)


def test_killed_while_a_line_is_logged_it_has_no_line_twice(
  tmp_path, monkeypatch, uninterrupted
):
  append = run_directory.append_metrics

  def half(workdir, record):
    if record['epoch'] == 2:
      with open(run_directory.metrics_path(workdir), 'ab') as file:
        file.write(b'{"epoch": 2, "st')
      raise Crash
    append(workdir, record)

  with monkeypatch.context() as patch:
    patch.setattr(run_directory, 'append_metrics', half)
    with pytest.raises(Crash):
      _fit(tmp_path)
  _assert_same(tmp_path, _fit(tmp_path), uninterrupted)
  epochs = [line['epoch'] for line in run_directory.read_metrics(tmp_path)]
  assert epochs == [1, 2, 3]


def test_asked_to_stop_it_saves_and_goes_on_later(tmp_path, uninterrupted):
  answers = 0

  def should_stop():
    nonlocal answers
    answers += 1
    return answers in (1, 3, 4)

  stops = 0
  while (fitted := _fit(tmp_path, None, should_stop)).params is None:
    assert checkpoints.steps(run_directory.latest_path(tmp_path))
    stops += 1
  assert stops >= 2
  _assert_same(tmp_path, fitted, uninterrupted)


def test_calls_on_a_finished_run_train_nothing(tmp_path, uninterrupted):
  _fit(tmp_path)
  phase = _phase()._replace(plan_of=None, evaluate=None)
  _assert_same(tmp_path, _fit(tmp_path, phase), uninterrupted)


@pytest.mark.parametrize('patience', [0, 1, 3])
def test_asked_for_more_epochs_it_ends_as_if_asked_for_all_at_once(
  tmp_path, patience
):
  once, longer = tmp_path / 'once', tmp_path / 'longer'
  once.mkdir()
  longer.mkdir()
  expected = _fit(once, patience=patience)
  for epochs in (1, 2):
    host = _fit(longer, epochs=epochs, patience=patience).host
    assert host['epoch'] == epochs
  fitted = _fit(longer, patience=patience)
  _assert_same(longer, fitted, (once, expected))


def test_a_damaged_checkpoint_is_skipped_for_the_one_before(
  tmp_path, monkeypatch, uninterrupted, caplog
):
  with monkeypatch.context() as patch:
    patch.setattr(checkpoints, 'save', _Crashing({6: 'after'}))
    with pytest.raises(Crash):
      _fit(tmp_path)
  latest = run_directory.latest_path(tmp_path)
  before, newest = checkpoints.steps(latest)[-2:]
  (latest / str(newest) / 'host.json').write_bytes(b'{}')
  with caplog.at_level(logging.WARNING, 'twotsrec'):
    fitted = _fit(tmp_path)
  assert str(latest / str(newest)) in caplog.text
  assert str(latest / str(before)) not in caplog.text
  _assert_same(tmp_path, fitted, uninterrupted)


def _stopped(values, patience, evaluate_every, lower):
  """(epochs made, best epoch), in the words of the documentation."""
  best, best_epoch, stale = None, None, 0
  for epoch in range(1, len(values) + 1):
    if epoch % evaluate_every and epoch < len(values):
      continue
    value = values[epoch - 1]
    if best is None or (value < best if lower else value > best):
      best, best_epoch, stale = value, epoch, 0
    else:
      stale += 1
    if patience and stale == patience:
      return epoch, best_epoch
  return len(values), best_epoch


@pytest.mark.parametrize(
  ('metric', 'values', 'patience', 'evaluate_every'),
  [
    ('loss', [3, 2, 2, 4, 1], 2, 1),
    ('loss', [3, 2, 2, 4, 1], 3, 1),
    ('loss', [3, 2, 2, 4, 1], 0, 1),
    ('ndcg@10', [3, 2, 2, 4, 1], 3, 1),
    ('ndcg@10', [3, 2, 2, 4, 1], 1, 1),
    ('loss', [1, 5, 2, 0, 3], 1, 2),
    ('user_auc', [1, 5, 2, 6, 3], 0, 3),
  ],
)
def test_patience_counts_evaluations_and_the_best_one_is_kept(
  tmp_path, metric, values, patience, evaluate_every
):
  epochs, best_epoch = _stopped(
    values, patience, evaluate_every, metric == 'loss'
  )
  per_epoch = len(_phase().plan_of(0))
  kept = {}

  def evaluate(params):
    epoch = judged.pop(0)
    kept[epoch] = jax.device_get(params)
    return {metric: float(values[epoch - 1])}

  judged = [
    epoch
    for epoch in range(1, len(values) + 1)
    if epoch % evaluate_every == 0 or epoch == len(values)
  ]
  fitted = _fit(
    tmp_path,
    _phase()._replace(evaluate=evaluate),
    epochs=len(values),
    patience=patience,
    evaluate_every=evaluate_every,
    select_metric=metric,
    checkpoint_every=60.0,
  )
  host = fitted.host
  assert (host['epoch'], host['best'][0]['epoch']) == (epochs, best_epoch)
  assert host['best'][0]['step'] == best_epoch * per_epoch
  assert host['best'][0]['value'] == values[best_epoch - 1]
  assert host['steps'] == epochs * per_epoch
  assert host['examples'] == epochs * per_epoch * BATCH
  runs.assert_same_arrays(jax.device_get(fitted.params), kept[best_epoch])
  lines = run_directory.read_metrics(tmp_path)
  assert [line['epoch'] for line in lines] == list(range(1, epochs + 1))
  assert [line['epoch'] for line in lines if 'validation' in line] == list(kept)


def test_without_selection_the_last_epoch_is_taken(tmp_path):
  fitted = _fit(
    tmp_path, _phase()._replace(evaluate=None), select_metric='none', patience=1
  )
  assert fitted.host['best'][0]['epoch'] == fitted.host['epoch'] == EPOCHS
  assert fitted.host['best'][0]['value'] is None
  latest = checkpoints.restore(
    run_directory.latest_path(tmp_path),
    {'train': _start(), 'totals': steps.init_totals(GROUPS)},
  )
  runs.assert_same_arrays(fitted.params, latest.state['train'].params)


def test_what_is_selected_on_test_is_logged_as_test(tmp_path):
  _fit(tmp_path, select_on='test', epochs=1)
  (line,) = run_directory.read_metrics(tmp_path)
  assert 'test' in line and 'validation' not in line


@pytest.mark.parametrize('bad_loss', [True, False])
def test_a_number_that_is_not_finite_ends_the_run_but_not_its_checkpoint(
  tmp_path, monkeypatch, uninterrupted, bad_loss
):
  calls = itertools.count()

  def spoiled(*arguments):
    train, totals = _compiled()(*arguments)
    if next(calls) == 3:
      totals = totals._replace(
        bad_step=jnp.int32(29), bad_loss=jnp.asarray(bad_loss)
      )
    return train, totals

  with monkeypatch.context() as patch:
    patch.setattr(loop, '_compile', lambda phase, live, host: spoiled)
    with pytest.raises(types.UserError) as error:
      _fit(tmp_path)
  what = 'training loss' if bad_loss else 'gradient'
  assert f'{what} is not finite at step 29 (epoch 2)' in str(error.value)
  assert 'lower train.learning_rate' in str(error.value)
  assert len(str(error.value).splitlines()) <= 2
  # What was saved before is whole: without the fault the run goes on from it.
  assert checkpoints.steps(run_directory.latest_path(tmp_path))
  _assert_same(tmp_path, _fit(tmp_path), uninterrupted)


@pytest.mark.parametrize(
  ('value', 'message'),
  [
    (float('nan'), 'validation loss is nan after epoch 1'),
    (None, 'validation loss has no value'),
  ],
)
def test_a_selection_without_a_value_ends_the_run(tmp_path, value, message):
  phase = _phase()._replace(evaluate=lambda params: {'loss': value})
  with pytest.raises(types.UserError, match=message):
    _fit(tmp_path, phase)
  assert checkpoints.steps(run_directory.best_path(tmp_path)) == []


def test_the_log_has_the_sums_of_the_epoch(uninterrupted):
  workdir, fitted = uninterrupted
  lines = run_directory.read_metrics(workdir)
  per_epoch = len(_phase().plan_of(0))
  assert [line['step'] for line in lines] == [
    per_epoch * (epoch + 1) for epoch in range(EPOCHS)
  ]
  counts = plans.group_batch_sizes(
    np.bincount(np.asarray(_phase().feed.group)), BATCH, 'proportional'
  )
  for line in lines:
    by_group = np.array(line['train_loss_by_part'])
    np.testing.assert_allclose(
      line['train_loss'], by_group @ counts / BATCH, rtol=1e-5
    )
  assert lines[-1]['train_loss'] < lines[0]['train_loss']
  best = min(lines, key=lambda line: line['validation']['loss'])
  assert fitted.host['best'][0]['epoch'] == best['epoch']


def test_parameters_are_kept_after_the_epochs_that_are_asked_for(
  tmp_path, uninterrupted
):
  phase = _phase()._replace(snapshots=(1, 3))
  fitted = _fit(tmp_path, phase)
  template = {'params': fitted.params}
  kept = {}
  for epoch in (1, 3):
    path = run_directory.snapshot_path(tmp_path, epoch)
    found = checkpoints.restore(path, template)
    kept[epoch] = found.state['params']
    assert found.host['epoch'] == epoch - 1  # counted at the end of it
  assert not run_directory.snapshot_path(tmp_path, 2).exists()
  # Epoch 3 is the last; a run of one epoch ends at the first snapshot.
  (tmp_path / 'short').mkdir()
  short = _fit(tmp_path / 'short', phase, epochs=1)
  runs.assert_same_arrays(kept[1], short.params)
  again = _fit(tmp_path, phase)
  runs.assert_same_arrays(again.params, fitted.params)
  _assert_same(tmp_path, fitted, uninterrupted)
