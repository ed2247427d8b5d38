import logging
import random

import pytest

from tests.training import loops
from twotsrec.training import checkpoints
from twotsrec.training import run_directory

SAVES = 8  # in the middle and at the end of epochs, and two best ones


class Crash(BaseException):
  """Where a process would have been killed."""


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
  fitted = loops.fit(tmp_path)
  steps_per_epoch = len(loops.phase().source.plan_of(0))
  ends = [steps_per_epoch * (e + 1) for e in range(loops.EPOCHS)]
  latest = [step for folder, step in saved if folder == 'latest']
  assert set(ends) < set(latest)
  assert all(
    any(end - steps_per_epoch < step < end for step in latest) for end in ends
  )
  bests = [step for folder, step in saved if folder == 'best']
  assert bests[-1] == fitted.progress.best[0].step and len(bests) >= 2
  assert len(saved) >= SAVES


@pytest.mark.parametrize('number', range(SAVES))
def test_killed_before_any_save_it_ends_with_the_same_bits(
  tmp_path, monkeypatch, number
):
  with monkeypatch.context() as patch:
    patch.setattr(checkpoints, 'save', _Crashing({number: 'before'}))
    with pytest.raises(Crash):
      loops.fit(tmp_path)
  loops.assert_undisturbed(tmp_path, loops.fit(tmp_path))


def test_killed_again_and_again_it_ends_with_the_same_bits(
  tmp_path, monkeypatch
):
  generator = random.Random(0)
  crashes = 0
  while True:
    kill = {generator.randint(1, 2): generator.choice(('before', 'after'))}
    try:
      with monkeypatch.context() as patch:
        patch.setattr(checkpoints, 'save', _Crashing(kill))
        fitted = loops.fit(tmp_path)
    except Crash:
      crashes += 1
      continue
    break
  assert crashes >= 3
  loops.assert_undisturbed(tmp_path, fitted)


def test_killed_while_a_line_is_logged_it_has_no_line_twice(
  tmp_path, monkeypatch
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
      loops.fit(tmp_path)
  loops.assert_undisturbed(tmp_path, loops.fit(tmp_path))
  epochs = [line['epoch'] for line in run_directory.read_metrics(tmp_path)]
  assert epochs == [1, 2, 3]


def test_asked_to_stop_it_saves_and_goes_on_later(tmp_path):
  answers = 0

  def should_stop():
    nonlocal answers
    answers += 1
    return answers in (1, 3, 4)

  stops = 0
  while (fitted := loops.fit(tmp_path, None, should_stop)).params is None:
    assert checkpoints.steps(run_directory.latest_path(tmp_path))
    stops += 1
  assert stops >= 2
  loops.assert_undisturbed(tmp_path, fitted)


def test_calls_on_a_finished_run_train_nothing(tmp_path):
  loops.fit(tmp_path)
  phase = loops.changed(judge=None)
  phase = phase._replace(source=phase.source._replace(plan_of=None))
  loops.assert_undisturbed(tmp_path, loops.fit(tmp_path, phase))


@pytest.mark.parametrize('patience', [0, 1, 3])
def test_asked_for_more_epochs_it_ends_as_if_asked_for_all_at_once(
  tmp_path, patience
):
  once, longer = tmp_path / 'once', tmp_path / 'longer'
  expected = loops.fit(once, patience=patience)
  for epochs in (1, 2):
    progress = loops.fit(longer, epochs=epochs, patience=patience).progress
    assert progress.epoch == epochs
  fitted = loops.fit(longer, patience=patience)
  loops.assert_same(longer, fitted, once, expected)


def test_a_damaged_checkpoint_is_skipped_for_the_one_before(
  tmp_path, monkeypatch, caplog
):
  with monkeypatch.context() as patch:
    patch.setattr(checkpoints, 'save', _Crashing({6: 'after'}))
    with pytest.raises(Crash):
      loops.fit(tmp_path)
  latest = run_directory.latest_path(tmp_path)
  before, newest = checkpoints.steps(latest)[-2:]
  (latest / str(newest) / 'host.json').write_bytes(b'{}')
  with caplog.at_level(logging.WARNING, 'twotsrec'):
    fitted = loops.fit(tmp_path)
  assert str(latest / str(newest)) in caplog.text
  assert str(latest / str(before)) not in caplog.text
  loops.assert_undisturbed(tmp_path, fitted)
