import json

from tests.launch import scripts
from tests.runs import compare_test


def write_pair(folder):
  first = compare_test.make_targets(0)
  second = compare_test.make_targets(1, 0.1)
  return ','.join(
    compare_test.write_run(folder / name, targets)
    for name, targets in (('base', first), ('ga', second))
  )


def test_runs_are_compared(capsys, tmp_path):
  ended = scripts.run(
    capsys,
    'compare',
    f'--runs={write_pair(tmp_path)}',
    '--names=base,+GA',
    '--metrics=auc,mrr',
    '--resamples=200',
    '--seed=3',
    f'--out={tmp_path / "out.json"}',
  )
  assert ended.code == 0 and ended.err == ''
  lines = ended.out.splitlines()
  assert lines[0] == '+GA against base'
  assert [line.split()[0] for line in lines[2:12:5]] == ['auc', 'mrr']
  written = json.loads((tmp_path / 'out.json').read_text())
  assert written['resamples'] == 200 and written['seed'] == 3
  row = written['comparisons']['+GA']['auc'][0]
  assert f'{row["difference"]:+.4f}' in lines[2].split()


def test_seeds_are_joined(capsys, tmp_path):
  paths = [
    compare_test.write_run(tmp_path / name, compare_test.make_targets(seed))
    for seed, name in enumerate(('a0', 'a1', 'b0', 'b1'))
  ]
  joined = f'{paths[0]}+{paths[1]},{paths[2]}+{paths[3]}'
  ended = scripts.run(capsys, 'compare', f'--runs={joined}', '--resamples=200')
  assert ended.code == 0
  assert ended.out.startswith('b0+b1 against a0+a1\n')
  assert 'over seeds' in ended.out and 'mean of 2 seeds' in ended.out


def test_systems_stand_in_one_table(capsys, tmp_path):
  first, second = write_pair(tmp_path).split(',')
  out = tmp_path / 'out.csv'
  flags = ['--table', '--metrics=auc', '--names=A,B']
  shown = scripts.run(capsys, 'compare', f'--runs={first},{second}', *flags)
  assert shown.code == 0 and shown.err == ''
  lines = [line.split() for line in shown.out.splitlines()[1:4]]
  assert lines[0][:2] == ['metric', 'system']
  assert lines[1][:2] == ['auc', 'A'] and lines[2][0] == 'B'
  runs = f'--runs={first}+{second}'
  seeds = scripts.run(capsys, 'compare', runs, *flags[:2], f'--out={out}')
  assert seeds.code == 0 and 'over seeds (2 of base+ga)' in seeds.out
  rows = out.read_text(encoding='utf-8').splitlines()
  assert len(rows) == 1 + 4 and rows[1].startswith('results,auc,base+ga,group')


def test_wrong_input_is_one_line(capsys, tmp_path):
  pair = write_pair(tmp_path)
  first = pair.split(',')[0]
  for flags, message in (
    ([], '--runs is missing'),
    ([f'--runs={first}'], '1 system to compare'),
    ([f'--runs={first},{tmp_path}'], 'not a run directory'),
    ([f'--runs={first},{first}/'], 'named'),
    ([f'--runs={pair}', '--names=a'], '1 names for 2 systems'),
    ([f'--runs={pair}', '--metrics=hr@7'], 'known: auc'),
    ([f'--runs={pair}', '--resamples=9'], 'too few'),
    ([f'--runs={pair}', '--resamples=many'], '--resamples'),
    ([f'--runs={pair}', '--seed=-1'], '--seed'),
    ([f'--runs={pair}', '--out=x.html'], '.json or .md'),
    ([f'--runs={pair}', '--resamples=200', f'--out={tmp_path}/no/x.md'], 'no'),
    ([f'--runs={pair}', '--table', '--by=parts'], 'with --table; leave'),
    ([f'--runs={pair}', '--table', '--out=x.json'], '.md, .csv or .tex'),
    ([f'--runs={pair}', 'stray'], "unexpected argument 'stray'"),
  ):
    ended = scripts.run(capsys, 'compare', *flags)
    scripts.assert_refused(ended, message)
