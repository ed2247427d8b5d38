import pytest

from twotsrec import types
from twotsrec.recipes.reproduction import choices

KNOWN = {'a': 1, 'b': 2, 'c': 3}


def test_names_are_kept_in_order_and_once():
  given = {'x': (('b', 'a', 'b'), KNOWN), 'y': (['c'], ('c', 'd'))}
  assert choices.known(given) == {'x': ('b', 'a'), 'y': ('c',)}


def test_seeds_are_numbers_in_order_and_once():
  assert choices.seeds(['2', 0, '02', '0']) == (2, 0)


@pytest.mark.parametrize(
  ('call', 'message'),
  [
    (
      lambda: choices.known({'x': (('a', 'z'), KNOWN)}),
      "--x: unknown 'z'; kno",
    ),
    (lambda: choices.known({'x': ((), KNOWN)}), '--x is empty; known: a, b, c'),
    (lambda: choices.seeds(['-1']), "--seeds: '-1' is not a whole number"),
    (lambda: choices.seeds([]), '--seeds is empty; write 0,1,2'),
  ],
)
def test_what_makes_no_sense_is_one_line(call, message):
  with pytest.raises(types.UserError, match=message) as caught:
    call()
  assert '\n' not in str(caught.value)
