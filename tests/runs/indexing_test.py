"""Exports with an index: lists by it, and what a manifest says of them."""

import json
import shutil

import numpy as np
import pytest

from tests.runs import kinds
from twotsrec import serving
from twotsrec import types
from twotsrec.runs import exports
from twotsrec.runs import indexing
from twotsrec.serving import approximate
from twotsrec.serving import export_folder

pytest.importorskip('faiss', reason='faiss (ann) is not installed')
KINDS = 'every_position', 'jodie', '2ts'
K = 2  # of the lists; of 20, all of so few items would be asked for


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
  """Exports with several lists, however few items there are."""
  made, place = {}, tmp_path_factory.mktemp('indexed')

  def of(kind, recall=0.5):
    key = kind, recall
    if key not in made:
      made[key] = place / f'{kind}_{recall}', None
      with pytest.MonkeyPatch.context() as patch:
        patch.setattr(approximate, '_POINTS', 2)
        patch.setattr(approximate, '_MORE', 0)
        patch.setattr(indexing, 'K', K)
        said = exports.run(
          str(kinds.KINDS[kind]()),
          str(made[key][0]),
          ['cpu'],
          search=exports.Search('approximate', recall),
        )
      made[key] = made[key][0], said
    return made[key]

  return of


@pytest.mark.parametrize('kind', KINDS)
def test_vectors_are_those_of_the_scores(kind):
  run = kinds.loaded(kind)
  vectors = indexing.vectors(run)
  asked = list(serving_requests(run, np.arange(5)))
  queries = indexing._queries(run, asked)(asked[0])
  for user in range(5):
    expected = kinds.scores(kind, user, kinds.own(kind, user))
    found = vectors[1:] @ queries[user]
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-5)


def serving_requests(run, users):
  from twotsrec.serving import people

  return people.requests(run.people, users)


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('recall', [0.5, 1.0])
def test_the_recall_of_a_manifest_is_that_of_its_lists(
  kind, recall, folders, monkeypatch
):
  folder, said = folders(kind, recall)
  about = json.loads((folder / 'manifest.json').read_bytes())
  search = about['search']
  assert search['k'] == K and search['lists'] > 1
  exact = serving.load_exported(folder)
  users = exact.people.user_ids.tolist()
  assert search['users'] == len(users)
  shop = serving.open(folder, search='approximate')
  monkeypatch.setattr(approximate, '_MORE', 0)
  lists = [one.recommend(users=users, k=K) for one in (shop, exact)]
  same = [
    len(set(one.items.tolist()) & set(other.items.tolist()))
    for one, other in zip(*lists, strict=True)
  ]
  whole = sum(len(other.items) for other in lists[1])
  assert search['recall'] == pytest.approx(sum(same) / whole, abs=1e-3)
  assert search['recall'] >= recall
  assert f'finds {search["recall"]:.1%} of the exact lists' in said
  assert export_folder.INDEX in about['files']
  for one, other in zip(*lists):
    assert len(one.items) == len(other.items)


def test_less_recall_takes_fewer_probes(folders):
  few, many = (
    json.loads((folders('2ts', recall)[0] / 'manifest.json').read_bytes())
    for recall in (0.5, 1.0)
  )
  assert few['search']['probes'] <= many['search']['probes']
  assert few['search']['lists'] == many['search']['lists']


def test_rules_hold_in_a_search(folders):
  folder, _ = folders('every_position')
  shop = serving.open(folder, search='approximate')
  ids, users = shop.people.item_ids.tolist(), shop.people.user_ids[:6].tolist()
  category = {name: n % 3 for n, name in enumerate(ids)}
  rules = shop.rules(categories=category, at_most=1, exclude=ids[:3])
  for one in shop.recommend(users=users, k=3, rules=rules):
    names = one.items.tolist()
    assert len(names) == 3 and not set(names) & set(ids[:3])
    assert len({category[name] for name in names}) == 3
  for one in shop.recommend(history=[ids[:2], ids[3:4]], k=2, items=ids[5:8]):
    assert len(one.items) == 2 and set(one.items.tolist()) <= set(ids[5:8])


def test_what_has_no_index_is_refused_in_a_line(folders, tmp_path):
  plain = str(kinds.KINDS['every_position']())
  for ask, words in (
    (lambda: serving.open(plain, search='approximate'), 'no index of items'),
    (lambda: serving.open(plain, search='quick'), 'one of exact, approximate'),
    (
      lambda: exports.run(
        str(kinds.KINDS['ease']()),
        str(tmp_path / 'out'),
        search=exports.Search('approximate'),
      ),
      'scores of ease are no inner products',
    ),
  ):
    with pytest.raises(types.UserError, match=words) as error:
      ask()
    assert len(str(error.value).splitlines()) == 1
  assert not (tmp_path / 'out').exists()


def test_a_damaged_index_is_named(folders, tmp_path):
  folder = shutil.copytree(folders('every_position')[0], tmp_path / 'copied')
  file = folder / export_folder.INDEX
  file.write_bytes(file.read_bytes()[:-1])
  with pytest.raises(types.UserError, match='items.faiss: its content'):
    serving.load_exported(folder, 'approximate')
