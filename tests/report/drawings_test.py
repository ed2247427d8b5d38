import re
import sys
import xml.etree.ElementTree as xml

import pytest

from twotsrec import types
from twotsrec.report import drawings


def _draw(axis):
  for number in range(3):
    style = drawings.style(number)
    axis.plot([0, 1], [0, number], color=style.drawn, marker=style.marker)
  axis.plot([0, 1], [1, 1], color=drawings.style(0, soft=True).drawn)
  axis.set_xlabel('a < b')


@pytest.fixture(scope='module')
def svg():
  pytest.importorskip('matplotlib', reason='matplotlib is not installed')
  return drawings.picture(_draw, 'Three lines & one')


def test_a_picture_says_what_it_shows_and_scales(svg):
  root = xml.fromstring(svg)
  assert root.tag == 'svg' and 'width' not in root.attrib
  assert root.get('role') == 'img'
  assert root.get('aria-label') == root.findtext('title') == 'Three lines & one'
  texts = [''.join(one.itertext()) for one in root.iter('text')]
  assert 'a < b' in texts


def test_a_picture_takes_its_colors_from_the_page(svg):
  assert not re.search('[^("]#[0-9a-f]{6}', svg)
  used = set(re.findall(r'var\(--(\w+)\)', svg))
  assert {'s0', 's1', 's2', 'soft', 'ink', 'grid'} <= used
  assert used <= set(drawings.COLORS)


def test_nothing_of_a_picture_reaches_beyond_it(svg):
  root = xml.fromstring(svg)
  assert not [one for one in root.iter() if one.tag in ('style', 'metadata')]
  ids = [one.get('id') for one in root.iter() if one.get('id')]
  linked = set(re.findall(r'url\(#([^)]+)\)', svg))
  linked |= {one.get('href', '#')[1:] for one in root.iter('use')}
  assert set(ids) == linked and len(set(ids)) == len(ids) > 0
  other = drawings.picture(lambda axis: axis.plot([2, 3]), 'Another')
  assert not linked & set(re.findall(r'id="([^"]+)"', other))


def test_the_same_numbers_give_the_same_bytes(svg):
  assert drawings.picture(_draw, 'Three lines & one') == svg
  assert not re.search(r'\d\.\d{3}', svg)


@pytest.mark.parametrize(
  ('number', 'short'),
  [('10.000', '10'), ('-0.126', '-0.13'), ('100.000', '100'), ('0.5', '0.5')],
)
def test_numbers_keep_two_digits(number, short):
  given = f'<svg viewBox="0 0 {number} 1"/>'
  assert drawings.inlined(given, '').count(f'"0 0 {short} 1"') == 1


def test_styles_tell_series_apart():
  styles = [drawings.style(number) for number in range(12)]
  assert len({(s.color, s.marker) for s in styles}) == len(styles)
  assert all(s.drawn == drawings.COLORS[s.color][0] for s in styles)
  lights, darks = zip(*drawings.COLORS.values())
  assert len({*lights}) == len({*darks}) == len(drawings.COLORS)


@pytest.mark.parametrize('place', [0, 1])
def test_colors_stand_out_from_their_page(place):
  def luminance(name):
    value = drawings.COLORS[name][place]
    parts = [int(value[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [
      p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

  for name in ('ink', 'soft', *drawings.SERIES):
    pair = sorted([luminance(name), luminance('page')])
    assert (pair[1] + 0.05) / (pair[0] + 0.05) > 4.5, name  # WCAG 2, AA


def test_without_matplotlib_it_is_one_line(monkeypatch):
  monkeypatch.setitem(sys.modules, 'matplotlib', None)
  with pytest.raises(types.UserError, match=r"'\.\[plots\]'") as refused:
    drawings.picture(_draw, '')
  assert '\n' not in str(refused.value)
