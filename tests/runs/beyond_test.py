import json

import pytest

from tests import finished
from twotsrec.evaluation import lists as lists_lib
from twotsrec.runs import recommend
from twotsrec.training import files


@pytest.mark.parametrize('run', ['ga', 'coming_back', 'behaviors', '2ts'])
def test_the_report_tells_of_the_lists_that_recommend_gives(run, tmp_path):
  workdir = {
    'behaviors': finished.behaviors,
    'coming_back': finished.coming_back,
  }.get(run, lambda: finished.run(run))()
  report = files.read_json(workdir / 'report.json')
  section = report['lists']
  assert list(section['systems']) == ['model', *report['baselines']]
  for system in section['systems'].values():
    users = [row['users'] for row in system['groups']]
    assert sum(users) == system['overall']['users'] == section['users']
    assert len(users) == len(report['test']['groups'])
    for row in (system['overall'], *system['groups']):
      for name in lists_lib.NAMES:
        assert row[name]['value'] is None or row[name]['value'] >= 0
  # Everybody is in the sample of so small a log.
  out = str(tmp_path / 'top.jsonl')
  recommend.run(str(workdir), out, recommend.Options(k=section['k']), True)
  with open(out, encoding='utf-8') as file:
    items = {json.loads(line)['item_id'] for line in file}
  share = len(items) / report['dataset']['items']
  if section['users'] == report['dataset']['users']:
    coverage = section['systems']['model']['overall']['coverage']
    assert coverage['value'] == pytest.approx(share)
  # Lists leave out what users have where the evaluation has no such items.
  parts = {
    p['name']: p['mrr']['count'] for p in report['test'].get('parts', ())
  }
  assert section['seen'] == (parts.get('again', 0) > 0)


def test_popularity_is_what_is_least_novel():
  systems = files.read_json(finished.run() / 'report.json')['lists']['systems']
  novelty = {k: v['overall']['novelty']['value'] for k, v in systems.items()}
  assert min(novelty, key=lambda name: novelty[name]) == 'popularity'
