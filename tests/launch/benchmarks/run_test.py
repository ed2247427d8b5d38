import json
import pathlib
import subprocess

import graph_products
from tests.launch import scripts


def test_wrong_input_is_one_line(capsys, tmp_path):
  out = f'--out={tmp_path / "out.json"}'
  for flags, message in (
    (['--suite=aggregators'], '--out is missing'),
    ([out, '--suite=aggregator'], 'train|peers|aggregators|graph'),
    ([out, '--suite=aggregators', '--only=pcgard'], 'known: joint, backdoor'),
    ([out, '--suite=aggregators', '--steps=0'], '--steps'),
    ([out, '--suite=aggregators', '--repeats=0'], '--repeats'),
    ([out, '--only=pcgrad'], '--only changes nothing'),
    ([out, '--steps=9'], '--steps changes nothing'),
    ([out, '--clock=sun'], 'wall|processor'),
    ([out, '--clock=wall'], 'use --suite=aggregators or graph'),
    ([out, '--suite=graph', '--only=din'], '--only changes nothing'),
    ([out, '--suite=graph', '--models=din'], '--models changes nothing'),
    ([out, '--suite=graph', '--dataset=moon'], "'moon' is unknown"),
  ):
    ended = scripts.run(capsys, 'benchmarks/run', *flags)
    scripts.assert_refused(ended, message)
  assert list(tmp_path.iterdir()) == []


def test_graph_products_are_measured_and_shown(capsys, tmp_path, monkeypatch):
  monkeypatch.setattr(graph_products, '_WIDTHS', (4,))
  monkeypatch.setattr(graph_products, '_layouts', lambda: ('bcsr',))
  second = {'median': 1.25, 'min': 1.0, 'max': 1.5}
  trained = {
    'epoch_seconds': second,
    'ranking_seconds': second,
    'steps_per_epoch': 6,
    'users': 1500,
    'items': 600,
    'peak_rss_mb': 512.0,
  }

  def child(command):
    flag = next(a for a in reversed(command) if a.startswith('--out='))
    pathlib.Path(flag.removeprefix('--out=')).write_text(json.dumps(trained))
    return subprocess.CompletedProcess(command, 0)

  monkeypatch.setattr(subprocess, 'run', child)
  out = tmp_path / 'out.json'
  ended = scripts.run(
    capsys, 'benchmarks/run', '--suite=graph', '--repeats=1', f'--out={out}'
  )
  assert ended.code == 0
  measured = json.loads(out.read_text(encoding='utf-8'))
  assert measured['suite'] == 'graph' and measured['copf'] == trained
  assert measured['source'] == 'synthetic-behaviors'
  copf, first, _, *rows = ended.out.splitlines()
  assert copf.startswith('copf: 1.2 s an epoch of 6 steps, 1.2 s to rank 600')
  assert first.startswith('synthetic-behaviors, ') and '1 rounds' in first
  assert len(rows) == len(measured['rows'])
  assert list(tmp_path.iterdir()) == [out]
