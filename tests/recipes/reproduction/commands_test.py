import shlex
from typing import NamedTuple

from twotsrec.recipes.reproduction import commands


class Settings(NamedTuple):
  data_root: str = ''
  cache_dir: str = 'data'


def test_a_run_has_its_file_folders_and_changes():
  flags = commands.train_flags(
    'pin/ml1m.py', Settings('D'), 'W', {'train.seed': 1, 'two_time.x': (5,)}
  )
  assert flags == [
    '--config=configs/pin/ml1m.py',
    '--data_root=D',
    '--config.data.cache_dir=data',
    '--workdir=W',
    '--config.train.seed=1',
    '--config.two_time.x=5,',
  ]


def test_a_line_can_be_pasted_into_a_shell():
  flags = ['--workdir=a b']
  assert shlex.split(commands.train(flags))[2:] == flags


def test_what_is_not_asked_for_is_not_in_the_line():
  line = commands.reproduce('x.py', {'table': (), 'seeds': (0, 1), 'out': 'O'})
  assert line == 'python launch/reproduce/x.py --seeds=0,1 --out=O'


def test_a_missing_folder_of_data_has_a_name():
  assert commands.named_root(Settings()).data_root == 'DIR'
  assert commands.named_root(Settings('D')).data_root == 'D'
