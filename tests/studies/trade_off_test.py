import json
import xml.etree.ElementTree as xml

import pytest

from tests.launch import scripts
from twotsrec.studies import figures
from twotsrec.studies import trade_off

RESULTS = scripts.ROOT / 'launch/reproduce/results'


def _row(share, of_all, of_new):
  return {'share': share, 'all': of_all, 'view': of_all, 'new': of_new}


def test_a_picture_has_a_line_of_either_kind_for_each_system(tmp_path):
  pytest.importorskip('matplotlib')
  out, picture = str(tmp_path / 'a.json'), tmp_path / 'a.svg'
  for system in ('ours', 'theirs'):
    rows = [_row(0.0, 0.4, 0.0), _row(1.0, 0.1, 0.2)]
    measured = {'scores': rows[:1], 'average': rows, 'each': rows}
    trade_off.add(out, system, measured)
    assert trade_off.has(out, system) and not trade_off.has(out, 'others')
  tables = trade_off.tables(out)
  assert trade_off.draw(tables, 'a-shop', picture)
  texts = ' '.join(xml.parse(picture).getroot().itertext())
  for text in ('ours', 'theirs', 'a-shop', figures.digest(tables)):
    assert text in texts
  looks = [node.get('style', '') for node in xml.parse(picture).iter()]
  for color in figures.COLORS[:2]:
    of_system = [
      look
      for look in looks
      if look.startswith('fill: none') and f'stroke: {color}' in look
    ]
    # Its two curves, and their samples in the legend but for the dashed one.
    assert ['dasharray' in look for look in of_system].count(True) == 1
    assert ['dasharray' in look for look in of_system].count(False) == 2


def test_the_picture_of_the_results_is_drawn_from_their_numbers():
  tables = json.loads((RESULTS / 'discovery.json').read_text('utf-8'))['tables']
  picture = (RESULTS / 'discovery.svg').read_text('utf-8')
  assert figures.digest(tables) in picture
  assert '(discovery.svg)' in (RESULTS / 'discovery.md').read_text('utf-8')
