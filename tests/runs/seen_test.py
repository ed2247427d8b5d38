import json

import numpy as np
import pytest

from tests import finished
from twotsrec.runs import experiment as experiment_lib
from twotsrec.runs import recommend
from twotsrec.runs import seen
from twotsrec.training import files


def _report(folder, candidates, **counts):
  parts = [{'name': n, 'mrr': {'count': c}} for n, c in counts.items()]
  report = {'test': {'parts': parts}, 'protocol': {'candidates': candidates}}
  (folder / 'report.json').write_text(json.dumps(report))
  return str(folder)


@pytest.mark.parametrize(
  ('counts', 'candidates', 'asked', 'expected', 'words'),
  [
    ({}, 'all', None, True, ''),
    ({'again': 0, 'new': 9}, 'all', None, True, ''),
    # Few or many: as the evaluation did.
    ({'again': 4, 'new': 96}, 'catalog', None, False, 'evaluation (4.0%'),
    ({'again': 40, 'new': 60}, 'catalog', None, False, 'evaluation (40.0%'),
    (
      {'again': 40, 'new': 60},
      'catalog',
      True,
      True,
      'unlike in the evaluation (40.0%',
    ),
    ({'again': 40, 'new': 60}, 'catalog', False, False, ''),
    ({'cart': 5, 'new': 5}, 'unbought', None, True, ''),
  ],
)
def test_lists_leave_out_what_the_evaluation_did_not_rank(
  tmp_path, counts, candidates, asked, expected, words
):
  out, said = seen.leave_out(_report(tmp_path, candidates, **counts), asked)
  assert out == expected
  assert words in said and bool(said) == bool(words)
  assert len(said.splitlines()) <= 1


def test_lists_of_a_run_hold_what_users_come_back_to(tmp_path):
  run, out = str(finished.coming_back()), str(tmp_path / 'top.jsonl')
  own = _own(run)
  shares = {}
  for asked in (None, True, False):
    options = recommend.Options(k=5, exclude_seen=asked)
    said = recommend.run(run, out, options, quiet=True)
    with open(out, encoding='utf-8') as file:
      rows = [json.loads(line) for line in file]
    shares[asked] = np.mean([r['item_id'] in own[r['user_id']] for r in rows])
    assert ('as in the evaluation' in said) == (asked is None)
    assert ('unlike in the evaluation' in said) == (asked is True)
  assert shares[None] == shares[False] > shares[True] == 0


def _own(run):
  prepared = experiment_lib.load(run)[0].prepared
  every = zip(prepared.event_users, prepared.items, strict=True)
  own = {}
  for user, item in every:
    own.setdefault(user, set()).add(prepared.item_ids[item - 1])
  return own


def test_the_report_has_both_kinds_and_the_rule_for_the_first():
  report = files.read_json(finished.coming_back() / 'report.json')
  assert list(report['baselines']) == ['popularity', 'seen_again', 'item_knn']
  for part in (report['test'], *report['baselines'].values()):
    assert [row['name'] for row in part['parts']] == ['again', 'new']
    counts = [row['mrr']['count'] for row in part['parts']]
    assert sum(counts) == part['overall']['mrr']['count'] and min(counts) > 0
