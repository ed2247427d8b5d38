"""Reasons of lists: in programs, in exports and in the file of a script."""

import numpy as np
import polars
import pytest

from tests import finished
from tests.runs import kinds
from twotsrec import serving
from twotsrec import types
from twotsrec.runs import exports
from twotsrec.runs import recommend
from twotsrec.serving import reasons as reasons_lib

KINDS = 'ease', 'item_knn', 'ga', 'ga_pn', 'separate'
SUMMED = 'ease', 'item_knn'
EVERY = 1000  # more than any history has


@pytest.fixture(scope='module', params=KINDS)
def kind(request):
  return request.param


def _shop(kind):
  return serving.open(kinds.KINDS[kind]())


def _owned(kind, shop, user):
  return set(shop.people.item_ids[kinds.own(kind, user) - 1].tolist())


def test_reasons_are_of_the_history_and_sum_up(kind):
  shop = _shop(kind)
  users = shop.people.user_ids[:8].tolist()
  plain = shop.recommend(users=users, k=4)
  for user, (one, other) in enumerate(
    zip(shop.recommend(users=users, k=4, reasons=EVERY), plain)
  ):
    assert one.items.tolist() == other.items.tolist() and not other.reasons
    assert len(one.reasons) == len(one.items) > 0
    for why, score in zip(one.reasons, one.scores):
      assert set(why.items.tolist()) <= _owned(kind, shop, user)
      assert len(set(why.items.tolist())) == len(why.items)
      assert np.all(np.diff(why.weights) <= 0)
      total = score if kind in SUMMED else 1.0
      assert np.sum(why.weights) == pytest.approx(total, rel=1e-4, abs=1e-5)


def test_fewer_are_the_first_of_all(kind):
  shop = _shop(kind)
  users = shop.people.user_ids[:8].tolist()
  few, every = (
    shop.recommend(users=users, k=4, reasons=number) for number in (2, EVERY)
  )
  for one, other in zip(few, every, strict=True):
    for why, whole in zip(one.reasons, other.reasons, strict=True):
      assert why.items.tolist() == whole.items[:2].tolist()


def test_anybody_with_a_history_gets_reasons(kind):
  shop = _shop(kind)
  ids = shop.people.item_ids.tolist()
  lists = shop.recommend(
    history=[ids[:3], [], ids[1:2] * 2], k=2, reasons=EVERY
  )
  assert not any(len(why.items) for why in lists[1].reasons)
  for one, own in zip(lists, (ids[:3], [], ids[1:2])):
    for why in one.reasons:
      assert set(why.items.tolist()) <= set(own)


@pytest.mark.parametrize('name', ['ease', 'item_knn', 'ga_pn'])
def test_an_export_has_those_of_its_run(name, tmp_path):
  exports.run(str(kinds.KINDS[name]()), str(tmp_path / 'out'), ['cpu'])
  shop, run = serving.open(tmp_path / 'out'), _shop(name)
  users = run.people.user_ids[:6].tolist()
  lists = [
    one.recommend(users=users, k=3, reasons=EVERY) for one in (shop, run)
  ]
  for one, other in zip(*lists, strict=True):
    for mine, theirs in zip(one.reasons, other.reasons, strict=True):
      np.testing.assert_allclose(mine.weights, theirs.weights, 1e-5, 1e-6)
      if np.all(np.abs(np.diff(theirs.weights)) > 1e-5):
        assert mine.items.tolist() == theirs.items.tolist()


@pytest.mark.parametrize(
  'name', ['copf', '2ts', 'jodie', 'every_position', 'prior']
)
def test_other_models_are_refused_in_a_line(name):
  shop = _shop(name)
  with pytest.raises(types.UserError, match='has no reasons') as error:
    shop.recommend(users=shop.people.user_ids[:1].tolist(), reasons=1)
  assert len(str(error.value).splitlines()) == 1
  assert all(one in str(error.value) for one in reasons_lib.NAMES)


def test_a_file_has_them_in_columns(tmp_path):
  shop, users = _shop('ease'), tmp_path / 'users.txt'
  users.write_text('4\nnobody\n2\n')
  out = str(tmp_path / 'top.parquet')
  options = recommend.Options(
    k=3, users=str(users), unknown_users='popular', reasons=2
  )
  recommend.run(str(finished.coming_back()), out, options, quiet=True)
  found = polars.read_parquet(out)
  for user in (4, 2):
    (one,) = shop.recommend(users=[user], k=3, reasons=2)
    mine = found.filter(polars.col('user_id') == str(user))
    assert mine['item_id'].to_list() == one.items.tolist()
    for place in (0, 1):
      for column, field in (('reason', 0), ('weight', 1)):
        told = mine[f'{column}_{place + 1}'].to_list()
        wanted = [
          why[field][place].item() if len(why.items) > place else None
          for why in one.reasons
        ]
        assert told == pytest.approx(wanted)
  nobody = found.filter(polars.col('user_id') == 'nobody')
  assert len(nobody) == 3 and nobody['reason_1'].null_count() == 3
  with pytest.raises(types.UserError, match='jodie has no reasons'):
    recommend.run(
      str(finished.jodie()), out, recommend.Options(reasons=1), quiet=True
    )
