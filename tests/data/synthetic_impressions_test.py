import numpy as np
import pytest

from twotsrec import types
from twotsrec.data import synthetic_impressions as impressions


@pytest.fixture(scope='module')
def drawn():
  return impressions.draw(300, 60, 1.0, 0.3, 5, seed=4)


def test_equal_seeds_give_equal_logs():
  one, two, other = (impressions.generate(50, 40, seed=s) for s in (1, 1, 2))
  same = lambda a, b: all(
    np.array_equal(getattr(a, name), getattr(b, name))
    for name in ('user', 'item', 'time', 'label')
  )
  assert same(one, two) and not same(one, other)


def test_labels_are_drawn_with_the_chances_of_the_law(drawn):
  """Of 20 parts by chance, each is within five standard errors."""
  chance = 1 / (1 + np.exp(-drawn.log_odds.astype(np.float64)))
  for part in np.array_split(np.argsort(chance), 20):
    error = np.sum(chance[part] * (1 - chance[part])) ** 0.5
    assert abs(np.sum(drawn.label[part]) - np.sum(chance[part])) < 5 * error
  assert 0.1 < np.mean(drawn.label) < 0.5


def test_pages_are_shown_at_one_moment_in_order(drawn):
  pages = drawn.time.reshape(-1, impressions.PAGE)
  assert np.all(pages == pages[:, :1])
  user = drawn.user[:: impressions.PAGE]
  assert np.all(np.diff(user) >= 0)
  same = np.diff(user) == 0
  assert np.all(np.diff(pages[:, 0])[same] >= 0)


def test_the_last_click_of_earlier_pages_moves_the_chances():
  """Differences to a log without it are kappa q_prev . q_i."""
  kappa, items = 0.3, 60
  with_it = impressions.draw(40, items, 0.0, kappa, 1, seed=5)
  without = impressions.draw(40, items, 0.0, 0.0, 1, seed=5)
  moved = (with_it.log_odds - without.log_odds).astype(np.float64)
  gains = np.full((items, items), np.nan)
  last: dict[int, int] = {}
  page = impressions.PAGE
  for first in range(0, len(moved), page):
    rows, user = slice(first, first + page), int(with_it.user[first])
    if user not in last:
      assert np.all(moved[rows] == 0)
    else:
      for item, gain in zip(with_it.item[rows], moved[rows]):
        for pair in ((last[user], item), (item, last[user])):
          known = gains[pair]
          assert np.isnan(known) or abs(known - gain) < 1e-4  # symmetric
          gains[pair] = gain
    clicked = with_it.item[rows][with_it.label[rows] == 1]
    if len(clicked):
      last[user] = int(clicked[-1])
  assert np.sum(~np.isnan(gains)) > items


def test_too_few_users_are_refused():
  with pytest.raises(types.UserError, match='at least 5 users'):
    impressions.generate(4)
