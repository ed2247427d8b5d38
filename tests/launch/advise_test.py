import json

import pytest

from tests.launch import scripts
from twotsrec.runs import which_model


@pytest.fixture
def data(capsys, tmp_path):
  """Prepared by the command that names the script."""
  ended = scripts.run(
    capsys,
    'prepare',
    '--dataset=synthetic',
    '--users=30',
    '--num_groups=3',
    f'--out={tmp_path / "data"}',
  )
  assert ended.code == 0
  last = ended.out.splitlines()[-1]
  assert last.endswith(
    f'python launch/advise.py --data={tmp_path / "data"} --num_groups=3'
  )
  return tmp_path / 'data'


def test_advice_is_printed_and_its_numbers_written(capsys, data):
  out = data.parent / 'advice.json'
  flags = ('--num_groups=3', '--quiet', f'--out={out}')
  ended = scripts.run(capsys, 'advise', f'--data={data}', *flags)
  assert ended.code == 0 and ended.err == ''
  found = json.loads(out.read_text(encoding='utf-8'))
  assert ended.out == which_model.text(found) + '\n'
  assert '1. ' in ended.out and 'has to beat' in ended.out


def test_what_is_missing_is_named(capsys, tmp_path):
  for flags, message in (
    ([], '--data is missing'),
    ([f'--data={tmp_path}'], 'make one with launch/prepare.py'),
  ):
    ended = scripts.run(capsys, 'advise', *flags)
    assert ended.code == 2 and message in ended.err
    assert len(ended.err.splitlines()) <= 2
