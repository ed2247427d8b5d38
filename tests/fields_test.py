import dataclasses

import pytest

from twotsrec import fields
from twotsrec import types

_PEN = fields.read_if('shop.tool', 'pen')
_NOT_PEN = fields.read_unless('shop.tool', 'pen')


@dataclasses.dataclass
class _Shop:
  tool: str = fields.one_of('pen', 'brush', 'knife')
  maker: str = fields.free('own')
  sizes: tuple[int, ...] = fields.at_least(2, (2, 3))
  names: tuple[str, ...] = fields.free(())
  share: float = fields.between(0, 1, 1.0)
  rate: float = fields.below(1, 0.0)
  ink: float = fields.above(0, 1.0, _PEN)
  hairs: int = fields.at_least(0, 9, _NOT_PEN)
  color: str = fields.one_of('red', 'none', read=_PEN, idle='none')
  open: bool = fields.free(
    True, fields.any_of(fields.all_of(_PEN, fields.read_if('shop.rate', 0)))
  )
  bulk: bool = fields.free(False, fields.read_unless('shop.sizes', 2))


@dataclasses.dataclass
class _Street:
  length: int = fields.at_least(1, 5)


@dataclasses.dataclass
class _Town:
  shop: _Shop = fields.section(_Shop)
  street: _Street = fields.section(_Street, 'use town=long')


_ALL = (fields.Reads('shop.*'), fields.Reads('street.length'))


def _town(**changes):
  return _Town(shop=_Shop(**changes))


def _refusal(function, *arguments):
  with pytest.raises(types.UserError) as caught:
    function(*arguments)
  return str(caught.value)


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'tool': 'saw'}, "shop.tool 'saw'; known: pen, brush, knife"),
    ({'tool': 3}, 'shop.tool 3 must be a text'),
    ({'open': 1}, 'shop.open 1 must be True or False'),
    ({'hairs': True}, 'shop.hairs True must be a whole number'),
    ({'hairs': 1.0}, 'shop.hairs 1.0 must be a whole number'),
    ({'hairs': -1}, 'shop.hairs -1 must be at least 0'),
    ({'share': '1'}, "shop.share '1' must be a number"),
    ({'share': 1.1}, 'shop.share 1.1 must be at most 1'),
    ({'share': float('nan')}, 'shop.share nan must be a finite number'),
    ({'ink': float('inf')}, 'shop.ink inf must be a finite number'),
    ({'ink': 0}, 'shop.ink 0 must be positive'),
    ({'rate': 1.0}, 'shop.rate 1.0 must be below 1'),
    ({'rate': -0.1}, 'shop.rate -0.1 must be at least 0'),
    ({'sizes': 10}, 'shop.sizes 10 must be several, as in (10,)'),
    ({'sizes': (2, 1)}, 'shop.sizes 1 must be at least 2'),
    ({'sizes': (2, 2.5)}, 'shop.sizes 2.5 must be a whole number'),
    ({'names': ('a', 0)}, 'shop.names 0 must be a name; quote each, as in'),
    ({'names': ('a,b',)}, '''as in --config.shop.names="'a','b'"'''),
  ],
)
def test_a_value_that_cannot_be_is_refused_in_a_line(changes, message):
  text = _refusal(fields.refuse_values, _town(**changes))
  assert message in text and text.startswith('shop.')
  assert '\n' not in text


def test_a_section_is_refused_by_itself():
  fields.refuse_section(_Street(), 'street')
  text = _refusal(fields.refuse_section, _Street(0), 'street')
  assert text == 'street.length 0 must be at least 1'


def test_whole_numbers_are_numbers_and_lists_are_several():
  fields.refuse_values(_town(share=0, rate=0.999, sizes=[2], names=['a']))


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    (
      {'tool': 'brush', 'ink': 2.0},
      'shop.ink 2.0 changes nothing with shop.tool=brush; leave it at 1.0, or'
      ' use shop.tool=pen',
    ),
    (
      {'hairs': 8},
      'shop.hairs 8 changes nothing with shop.tool=pen; leave it at 9, or use'
      ' shop.tool=brush or knife',
    ),
    ({'rate': 0.5, 'open': False}, 'with shop.rate=0.5; leave it at True'),
    ({'tool': 'knife', 'rate': 0.5, 'open': False}, 'with shop.tool=knife'),
    ({'sizes': (2, 2), 'bulk': True}, 'nothing with shop.sizes=(2, 2)'),
  ],
)
def test_a_setting_that_is_not_read_is_refused_with_ways_out(changes, message):
  text = _refusal(fields.refuse_unread, _town(**changes), _ALL, 'town=short')
  assert message in text
  assert '\n' not in text


@pytest.mark.parametrize(
  'changes',
  [
    {},
    {'ink': 2.0},
    {'tool': 'brush', 'hairs': 3},
    {'tool': 'brush', 'ink': 1.0},  # the default
    {'tool': 'brush', 'color': 'none'},  # says what is so anyway
    {'sizes': [2, 3]},  # a list is what JSON makes of the default
    {'sizes': (2, 3, 2), 'bulk': True},
    {'sizes': (), 'bulk': True},
    # A part in a file of the user may read whatever there is.
    {'tool': 'my/part.py:make', 'ink': 2.0, 'hairs': 3},
  ],
)
def test_what_is_read_or_says_nothing_passes(changes):
  fields.refuse_unread(_town(**changes), _ALL, 'town=short')


def test_a_recipe_reads_what_it_says_and_nothing_else():
  town = _town(ink=2.0)
  town.street.length = 6
  with_pen = fields.Reads('shop.ink', read=_PEN)
  some = (fields.Reads('shop.*', but='shop.t* shop.ink'), with_pen)
  assert _refusal(fields.refuse_unread, town, some, 'town=short') == (
    'street.length 6 changes nothing with town=short; leave it at 5, or use'
    ' town=long'
  )
  town.street.length = 5
  fields.refuse_unread(town, some, 'town=short')
  town.shop.tool = 'brush'
  assert _refusal(fields.refuse_unread, town, some, 'town=short') == (
    "shop.tool 'brush' changes nothing with town=short; leave it at 'pen'"
  )
  # What says nothing beside a pen is of no use where there is no color.
  town = _town(color='none')
  assert _refusal(fields.refuse_unread, town, some[1:], 'town=short') == (
    "shop.color 'none' changes nothing with town=short; leave it at 'red'"
  )
  with pytest.raises(ValueError, match="'shop.inc' is no setting"):
    fields.refuse_unread(town, (fields.Reads('shop.inc'),), 'town=short')


def test_only_what_is_read_is_left():
  town = _town(tool='brush', ink=2.0, hairs=3, color='none')
  town.street.length = 6
  reads = (fields.Reads('shop.*'),)
  left = fields.only_read(town, reads)
  assert left == _town(tool='brush', hairs=3, color='none')
  fields.refuse_unread(left, reads, 'town=short')
  assert town.shop.ink == 2.0 and town.street.length == 6  # not touched


@pytest.mark.parametrize(
  ('value', 'own'),
  [
    ('part.py:make', True),
    ('../a/part.py:make_it', True),
    ('part.py', False),
    ('part.py:', False),
    ('part.py:make it', False),
    ('backdoor', False),
    ('C:make', False),
    (3, False),
  ],
)
def test_a_part_in_a_file_is_told_from_a_name(value, own):
  assert fields.is_own(value) == own
