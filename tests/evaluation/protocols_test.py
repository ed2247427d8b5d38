import numpy as np
import pytest

from twotsrec import types
from twotsrec.data import prepared as prepared_lib
from twotsrec.evaluation import protocols

TRAIN, VALIDATION, TEST = range(3)


def make(again=0, viewed=0, users=40, behaviors=True, num_items=9):
  """A log of three events a user, the last one held out.

  The first `again` users buy an item again and the next `viewed` ones what they
  had viewed; all others buy something new.
  """
  who = np.arange(users)
  first, last = np.full(users, 1), np.where(who < again + viewed, 1, 3)
  kind = np.where(who < again, 1, 0)
  stacked = lambda *columns: np.stack(columns, axis=1).ravel()
  nothing, everything = np.zeros(users, int), np.ones(users, int)
  told = stacked(kind, nothing, everything) if behaviors else None
  return prepared_lib.build(
    np.repeat(who, 3),
    stacked(first, np.full(users, 2), last),
    stacked(nothing, nothing, np.full(users, TEST)),
    user_ids=who,
    item_ids=np.arange(num_items),
    behaviors=told,
    behavior_names=('view', 'buy') if behaviors else (),
  )


@pytest.mark.parametrize(
  ('log', 'candidates'),
  [
    ({'behaviors': False}, 'all'),
    ({'behaviors': False, 'again': 1}, 'all'),
    ({'behaviors': False, 'again': 2}, 'catalog'),
    ({'viewed': 40}, 'unbought'),
    ({'viewed': 38, 'again': 1}, 'unbought'),
    ({'viewed': 38, 'again': 2}, 'catalog'),
  ],
)
def test_auto_gives_no_answer_away(log, candidates):
  data = make(**log)
  assert protocols.resolved(data, 'auto') == candidates
  # Nobody who is ranked could be told from the rivals by what was touched.
  held, left_out = protocols.targets(data, candidates, TEST)
  assert held.user.size + left_out == 40
  excluded = protocols.rule(data, candidates, TEST).excluded(held)
  for row, (user, item) in enumerate(zip(held.user, held.item)):
    own = data.items[data.user_offsets[user] : data.user_offsets[user + 1] - 1]
    if item in own:
      assert excluded.number[row] == 9 - 1  # what the user had competes


@pytest.mark.parametrize('asked', ['all', 'sampled', 'never_interacted'])
def test_what_the_user_had_is_not_ranked_among_strangers(asked):
  data = make(again=7, viewed=10)
  held, left_out = protocols.targets(data, asked, TEST)
  assert (left_out, held.user.tolist()) == (17, list(range(17, 40)))
  words = protocols.in_words(data, asked, TEST)
  assert words.endswith('items the user had before are not ranked')
  held, left_out = protocols.targets(data, 'unbought', TEST)
  assert (left_out, held.user.tolist()) == (7, list(range(7, 40)))
  held, left_out = protocols.targets(data, 'catalog', TEST)
  assert (left_out, held.user.size) == (0, 40)


def test_advice_where_nothing_is_left_to_rank_can_be_followed():
  for data, ways in (
    (make(viewed=40), "'unbought' or 'catalog'"),
    (make(again=40, behaviors=False), "'catalog'"),
  ):
    with pytest.raises(types.UserError, match=f'new to its user; use {ways}'):
      protocols.targets(data, 'all', TEST)
    assert protocols.targets(data, 'catalog', TEST)[0].user.size == 40
  assert protocols.targets(make(viewed=40), 'unbought', TEST)[1] == 0


def test_a_selection_among_users_of_every_item_is_refused():
  data = make(behaviors=False, num_items=3)
  with pytest.raises(types.UserError, match='40 of 40 test items have no riv'):
    protocols.require_rivals(data, 'all', TEST, 'hr@10')
  protocols.require_rivals(data, 'catalog', TEST, 'hr@10')
