"""What a reader copies from the README exists, and runs."""

import importlib
import pathlib
import re

import pytest

from tests.serving import online_toys
from twotsrec import config as config_lib
from twotsrec.runs import run as run_lib

ROOT = pathlib.Path(__file__).resolve().parents[1]
TEXT = (ROOT / 'README.md').read_text(encoding='utf-8')
PROGRAMS = re.findall(r'```python\n(.*?)```', TEXT, re.DOTALL)


def _program(of):
  (found,) = [text for text in PROGRAMS if of in text]
  return found


def test_every_flag_of_the_configuration_exists():
  named = set(re.findall(r'--config\.(\w+)\.(\w+)', TEXT))
  default = config_lib.Config()
  assert len(named) > 40
  for section, field in named:
    assert hasattr(getattr(default, section), field), f'{section}.{field}'


@pytest.mark.parametrize(
  'path', sorted(set(re.findall(r'(?:launch|configs)/[\w/]+\.\w+', TEXT)))
)
def test_every_file_named_exists(path):
  assert (ROOT / path).is_file()


@pytest.mark.parametrize(
  'text', sorted(set(re.findall(r'theory\.(\w+)', TEXT)))
)
def test_every_part_of_the_theory_exists(text):
  assert hasattr(importlib.import_module('twotsrec.theory'), text)


def test_states_move_as_the_example_says(tmp_path, capsys):
  world = online_toys.world()
  workdir = online_toys.save_run(world, tmp_path / 'run')
  text = _program(of='open_service').replace('runs/2ts', str(workdir))
  names = {}
  exec(compile(text, 'README.md', 'exec'), names)
  kept = names['online_bytes'].from_bytes(names['service'], names['saved'])
  assert (kept.last == names['state'].last).all()
  assert (names['best'].ids > 0).all()  # 0 would print the last item's id
  assert len(kept.last) == 3 and capsys.readouterr().out


def test_the_library_example_trains(tmp_path, monkeypatch):
  """With a log and a model that are small enough for a test."""
  text = _program(of='run_lib.train').replace(
    'runs/library', str(tmp_path / 'a')
  )
  whole = run_lib.train

  def train(settings, workdir):
    config_lib.change(
      settings,
      {'data.users': 25, 'train.epochs': 1, 'model.width': 4},
    )
    return whole(settings, workdir, quiet=True)

  monkeypatch.setattr(run_lib, 'train', train)
  names = {}
  exec(compile(text, 'README.md', 'exec'), names)
  assert 0 <= names['report']['test']['groups'][0]['auc']['value'] <= 1
