import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import small_runs as runs
from tests.training import loops
from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.data import plans
from twotsrec.training import checkpoints
from twotsrec.training import loop
from twotsrec.training import run_directory
from twotsrec.training import steps


def _stopped(values, patience, min_epochs, evaluate_every, lower):
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
    if patience and stale >= patience and epoch >= min_epochs:
      return epoch, best_epoch
  return len(values), best_epoch


@pytest.mark.parametrize(
  ('metric', 'values', 'patience', 'min_epochs', 'evaluate_every'),
  [
    ('loss', [3, 2, 2, 4, 1], 2, 0, 1),
    ('loss', [3, 2, 2, 4, 1], 2, 5, 1),  # otherwise it ends before the best
    ('loss', [3, 2, 2, 4, 4, 1], 2, 4, 1),
    ('loss', [3, 2, 2, 4, 4, 1], 1, 5, 1),  # as soon as it may
    ('loss', [3, 2, 2, 4, 1], 3, 0, 1),
    ('loss', [3, 2, 2, 4, 1], 0, 0, 1),
    ('ndcg@10', [3, 2, 2, 4, 1], 3, 0, 1),
    ('ndcg@10', [3, 2, 2, 4, 1], 1, 0, 1),
    ('loss', [1, 5, 2, 0, 3], 1, 0, 2),
    ('user_auc', [1, 5, 2, 6, 3], 0, 0, 3),
  ],
)
def test_patience_counts_evaluations_and_the_best_one_is_kept(
  tmp_path, metric, values, patience, min_epochs, evaluate_every
):
  epochs, best_epoch = _stopped(
    values, patience, min_epochs, evaluate_every, metric == 'loss'
  )
  per_epoch = len(loops.phase().source.plan_of(0))
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
  fitted = loops.fit(
    tmp_path,
    loops.changed(judge=evaluate),
    epochs=len(values),
    patience=patience,
    min_epochs=min_epochs,
    evaluate_every=evaluate_every,
    select_metric=metric,
    checkpoint_every=60.0,
  )
  progress = fitted.progress
  assert (progress.epoch, progress.best[0].epoch) == (epochs, best_epoch)
  assert progress.best[0].step == best_epoch * per_epoch
  assert progress.best[0].value == values[best_epoch - 1]
  assert progress.steps == epochs * per_epoch
  assert progress.examples == epochs * per_epoch * loops.BATCH
  runs.assert_same_arrays(jax.device_get(fitted.params), kept[best_epoch])
  lines = run_directory.read_metrics(tmp_path)
  assert [line['epoch'] for line in lines] == list(range(1, epochs + 1))
  assert [line['epoch'] for line in lines if 'validation' in line] == list(kept)


def test_without_selection_the_last_epoch_is_taken(tmp_path):
  fitted = loops.fit(
    tmp_path,
    loops.changed(judge=None),
    select_metric='none',
    patience=1,
  )
  assert fitted.progress.best[0].epoch == fitted.progress.epoch == loops.EPOCHS
  assert fitted.progress.best[0].value is None
  latest = checkpoints.restore(
    run_directory.latest_path(tmp_path),
    {'train': loops.start(), 'totals': steps.init_totals(loops.GROUPS)},
  )
  runs.assert_same_arrays(fitted.params, latest.state['train'].params)


def test_what_is_selected_on_test_is_logged_as_test(tmp_path):
  loops.fit(tmp_path, select_on='test', epochs=1)
  (line,) = run_directory.read_metrics(tmp_path)
  assert 'test' in line and 'validation' not in line


@pytest.mark.parametrize('bad_loss', [True, False])
def test_a_number_that_is_not_finite_ends_the_run_but_not_its_checkpoint(
  tmp_path, bad_loss
):
  calls = itertools.count()

  def spoiled(*arguments):
    train, totals = loops.compiled()(*arguments)
    if next(calls) == 3:
      totals = totals._replace(
        bad_step=jnp.int32(29), bad_loss=jnp.asarray(bad_loss)
      )
    return train, totals

  with pytest.raises(types.UserError) as error:
    loops.fit(tmp_path, runner=spoiled)
  what = 'training loss' if bad_loss else 'gradient'
  assert f'{what} is not finite at step 29 (epoch 2)' in str(error.value)
  assert 'lower train.learning_rate' in str(error.value)
  assert len(str(error.value).splitlines()) <= 2
  # What was saved before is whole: without the fault the run goes on from it.
  assert checkpoints.steps(run_directory.latest_path(tmp_path))
  loops.assert_undisturbed(tmp_path, loops.fit(tmp_path))


@pytest.mark.parametrize(
  ('value', 'message'),
  [
    (float('nan'), 'validation loss is nan after epoch 1'),
    (None, 'validation loss has no value'),
  ],
)
def test_a_selection_without_a_value_ends_the_run(tmp_path, value, message):
  phase = loops.changed(judge=lambda params: {'loss': value})
  with pytest.raises(types.UserError, match=message):
    loops.fit(tmp_path, phase)
  assert checkpoints.steps(run_directory.best_path(tmp_path)) == []


def test_the_log_has_the_sums_of_the_epoch():
  workdir, fitted = loops.uninterrupted()
  lines = run_directory.read_metrics(workdir)
  per_epoch = len(loops.phase().source.plan_of(0))
  assert [line['step'] for line in lines] == [
    per_epoch * (epoch + 1) for epoch in range(loops.EPOCHS)
  ]
  counts = plans.group_batch_sizes(
    np.bincount(np.asarray(loops.phase().source.feed.group)),
    loops.BATCH,
    'proportional',
  )
  for line in lines:
    by_group = np.array(line['train_loss_by_part'])
    np.testing.assert_allclose(
      line['train_loss'], by_group @ counts / loops.BATCH, rtol=1e-5
    )
  assert lines[-1]['train_loss'] < lines[0]['train_loss']
  best = min(lines, key=lambda line: line['validation']['loss'])
  assert fitted.progress.best[0].epoch == best['epoch']


def test_parameters_are_kept_after_the_epochs_that_are_asked_for(tmp_path):
  phase = loops.changed(snapshots=(1, 3))
  fitted = loops.fit(tmp_path, phase)
  template = {'params': fitted.params}
  kept = {}
  for epoch in (1, 3):
    path = run_directory.snapshot_path(tmp_path, epoch)
    found = checkpoints.restore(path, template)
    kept[epoch] = found.state['params']
    assert found.host['epoch'] == epoch - 1  # counted at the end of it
  assert not run_directory.snapshot_path(tmp_path, 2).exists()
  # Epoch 3 is the last; a run of one epoch ends at the first snapshot.
  short = loops.fit(tmp_path / 'short', phase, epochs=1)
  runs.assert_same_arrays(kept[1], short.params)
  again = loops.fit(tmp_path, phase)
  runs.assert_same_arrays(again.params, fitted.params)
  loops.assert_undisturbed(tmp_path, fitted)


def test_how_long_training_takes_is_told_once_after_a_second(capsys):
  fitted = loops.changed(judge=None)
  how = fitted.how._replace(train=config_lib.TrainConfig(epochs=5, patience=2))
  asked = []
  then = lambda: asked.append(0) or 'ranking takes about 0:07'
  tell = loop._make_tell(fitted._replace(how=how), False, then)
  tell(8, 5.0, 0, 100)  # slow, and not counted
  tell(8, 0.5, 0, 100)
  assert not asked and capsys.readouterr().err == ''
  tell(12, 1.5, 0, 100)  # twenty steps in two seconds
  tell(12, 1.5, 0, 100)
  assert capsys.readouterr().err == (
    'training: about 0:10 an epoch without its validation, 0:50 for the 5 to'
    ' come, less if patience ends it; then ranking takes about 0:07\n'
  )
  assert len(asked) == 1
