"""Copies of finished runs that lack something, and cases of scripts."""

import shutil

from tests.advice import following
from tests.advice.following import done
from tests.launch import scripts
from twotsrec.runs import run as run_lib
from twotsrec.training import files
from twotsrec.training import run_directory


def made_like(run, change=None):
  """Makes a copy of a run, and changes it."""

  def make(path, runs):
    shutil.copytree(runs / run, path)
    if change:
      change(path)

  return make


def told(path, **changes):
  """Changes a file of JSON."""
  files.write_json(path, {**files.read_json(path), **changes})


def finished_again(folder):
  """Repeats the training command of a copied run."""
  config = run_directory.typed_config(str(folder / 'run'))
  run_lib.train(config, str(folder / 'run'), lambda: 0, quiet=True)


def without_report(path):
  run_directory.report_path(path).unlink()


def shown_again(folder):
  run_directory.report_path(folder / 'run').unlink()
  finished_again(folder)


FINISH = done(finished_again, 'launch/train.py with the same --workdir')


def followed(script, case, runs, capsys, folder):
  """Follows a case of a script; %runs stands for the finished ones."""

  def attempt(asked):
    ended = scripts.run(capsys, script, *asked)
    assert ended.code in (0, 2), ended
    return ended.err.removeprefix('error: ').strip() if ended.code else ''

  put = lambda flag: flag.replace('%runs', str(runs)).replace(
    '%configs', str(scripts.ROOT / 'configs')
  )

  def placed(way):
    return lambda text, asked, folder: [*map(put, way(text, asked, folder))]

  def setup(content):
    if not callable(content):
      return content
    return lambda path: content(path, runs)

  case = case._replace(
    asked=[*map(put, case.asked)],
    ways=[*map(placed, case.ways)],
    files={name: setup(content) for name, content in case.files.items()},
  )
  following.follow(case, attempt, folder)
