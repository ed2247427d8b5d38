import importlib.util
import json
import sys
import xml.etree.ElementTree as xml

import pytest

from tests.launch import scripts

HAS_MATPLOTLIB = importlib.util.find_spec('matplotlib') is not None


def _metrics(value, **columns):
  metric = {'low': value - 0.1, 'value': value, 'high': value + 0.1}
  return {**columns, 'auc': {**metric, 'count': 5}, 'hr@10': metric}


def _part(value, users=3):
  groups = [
    _metrics(
      value + 0.01 * number,
      group=number,
      users=users,
      min_activity=10 * number,
      max_activity=10 * number + 5,
    )
    for number in (1, 2)
  ]
  return {'overall': _metrics(value), 'groups': groups}


def _finished(workdir, value, **options):
  report = {'test': _part(value, **options), 'baselines': {}}
  report['baselines']['popularity'] = _part(0.5, **options)
  workdir.mkdir()
  (workdir / 'report.json').write_text(json.dumps(report), encoding='utf-8')
  return workdir


def _runs(tmp_path):
  runs = [_finished(tmp_path / name, 0.6) for name in ('base', 'ga')]
  return f'--runs={",".join(map(str, runs))}'


def test_wrong_input_is_one_line(capsys, tmp_path):
  runs, out = _runs(tmp_path), f'--out={tmp_path / "a.json"}'
  other = _finished(tmp_path / 'other', 0.6, users=4)
  for flags, message in (
    ([runs], '--out is missing'),
    ([runs, f'--out={tmp_path / "a.gif"}'], 'end it in .svg, .png, .json'),
    ([out], 'give either --runs or --numbers'),
    ([runs, out, '--numbers=x.json'], 'give either --runs or --numbers'),
    ([out, '--numbers=x.json'], 'cannot read x.json'),
    ([runs, out, '--names=a'], '--names=a must name 2 runs apart'),
    ([runs, out, '--names=a,a'], '--names=a,a must name 2 runs apart'),
    ([runs, out, '--metrics=moon'], "no metric 'moon'; it has auc, hr@10"),
    ([f'{runs},{other}', out], f'{other} has other groups than'),
    ([f'--runs={tmp_path}', out], 'has no report.json; finish it'),
  ):
    ended = scripts.run(capsys, 'draw', *flags)
    scripts.assert_refused(ended, message)
  assert not list(tmp_path.glob('a.*'))


def test_numbers_are_those_of_the_reports_and_are_kept(capsys, tmp_path):
  out = tmp_path / 'numbers.json'
  metrics = '--metrics=auc,hr@10'
  ended = scripts.run(
    capsys, 'draw', _runs(tmp_path), '--names=base,+GA', metrics, f'--out={out}'
  )
  assert ended == (0, f'written to {out}\n', '')
  reports = json.loads(out.read_text(encoding='utf-8'))['reports']
  assert list(reports) == ['popularity', 'base', '+GA']
  assert [part['baseline'] for part in reports.values()] == [True, False, False]
  assert reports['base'] == {'baseline': False, **_part(0.6)}
  again = tmp_path / 'again.json'
  scripts.run(capsys, 'draw', f'--numbers={out}', metrics, f'--out={again}')
  assert again.read_bytes() == out.read_bytes()


def test_without_matplotlib_it_is_one_line(capsys, tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, 'matplotlib', None)
  out = f'--out={tmp_path / "a.svg"}'
  ended = scripts.run(capsys, 'draw', _runs(tmp_path), out)
  assert ended.code == 2 and "pip install -e '.[plots]'" in ended.err
  assert not list(tmp_path.glob('*.svg'))


@pytest.mark.skipif(not HAS_MATPLOTLIB, reason='matplotlib is not installed')
@pytest.mark.parametrize('metrics', ['auc', 'auc,hr@10'])
def test_the_picture_names_groups_and_systems(capsys, tmp_path, metrics):
  runs, flags = _runs(tmp_path), [f'--metrics={metrics}', '--names=base,+GA']
  paths = [tmp_path / 'a.svg', tmp_path / 'b.svg']
  for path in paths:
    ended = scripts.run(capsys, 'draw', runs, *flags, f'--out={path}')
    assert ended == (0, f'written to {path}\n', '')
  assert paths[0].read_bytes() == paths[1].read_bytes()
  texts = [
    ''.join(node.itertext())
    for node in xml.parse(paths[0]).iter('{http://www.w3.org/2000/svg}text')
  ]
  assert {'popularity', 'base', '+GA', 'group 1', 'group 2'} <= set(texts)
  assert {'10-15 events', '20-25 events'} <= set(texts)
  for metric in metrics.split(','):
    assert f'{metric.upper()} (test), 95 % interval' in texts
