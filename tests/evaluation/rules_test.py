"""Every rule, offline and online, against a literal loop over all pairs."""

from absl.testing import parameterized
import jax.numpy as jnp
import numpy as np
import pytest

from tests.evaluation import toys
from twotsrec import contracts
from twotsrec import types
from twotsrec.data import prepared
from twotsrec.evaluation import behaviors
from twotsrec.evaluation import candidates
from twotsrec.evaluation import counting
from twotsrec.evaluation import online
from twotsrec.evaluation import ranking
from twotsrec.evaluation import rules
from twotsrec.evaluation import tiles

_LENGTH, _ITEMS, _GROUPS, _LISTED = 4, 37, 4, 11
_RULES = ('all', 'unseen', 'unbought', 'past', 'listed', 'own lists')
_TILES = ((64, 64), (8, 16), (5, 7), (1, 40), (64, 1))
_TIES = ('many', 'whole catalog', 'none')
_PARAMS = ('shared', 'hard', 'ordered', 'soft', 'own')
# Every rule with every size, and all pairs of the other factors over them.
_CASES = tuple(
  (rule, size, _TIES[(i + j) % 3], _PARAMS[(i + 2 * j) % 5])
  for i, rule in enumerate(_RULES)
  for j, size in enumerate(_TILES)
)


class _World:
  """Held-out events with repeats of a user and of items, in exact numbers."""

  def __init__(self):
    rng = np.random.default_rng(0)
    self.data = toys.behavior_log(rng, num_users=13, num_items=_ITEMS)
    self.disliked = toys.disliked(np.random.default_rng(1), self.data)
    self.data = toys.with_disliked(self.data, self.disliked)
    parts = [prepared.targets(self.data, s) for s in (1, 2)]
    event = np.argsort(np.concatenate([part.event for part in parts]))
    self.targets = prepared.Targets(
      *(np.concatenate(column)[event] for column in zip(*parts))
    )
    self.total = event.size
    self.groups = rng.integers(_GROUPS, size=(self.total, 2)).astype(np.int32)
    share = rng.integers(5, size=self.total) / 4
    self.soft = np.stack([1 - share, share], axis=1).astype(np.float32)
    # 0 is the bare trunk.
    self.hard = rng.integers(2, size=(self.total, 1)).astype(np.float32)
    self.params = {name: self._params(rng, name) for name in _TIES}
    # The first group's and those of the others.
    self.others = [self._params(rng, 'many') for _ in range(_GROUPS - 1)]
    self.lists = self._lists()  # drawn without any rule, the item first

  def _params(self, rng, ties):
    params = toys.routed_params(rng, _ITEMS, _GROUPS)
    table = np.array(params.tables['item']['embedding'])
    if ties == 'whole catalog':
      table[:] = table[5]
    if ties == 'none':  # digits of the id: distinct, and sums of it are exact
      table[:, 0] = np.arange(_ITEMS + 1) * 64.0
    return params._replace(tables={'item': {'embedding': jnp.asarray(table)}})

  def rule(self, name):
    data, number = self.data, _ITEMS
    return {
      'all': lambda: rules.everything(number),
      'unseen': lambda: rules.without(prepared.seen_items(data), number),
      'unbought': lambda: rules.without(
        behaviors.bought(data, prepared.VALIDATION), number, rules.UNBOUGHT
      ),
      'past': lambda: rules.past(data),
      'listed': lambda: rules.listed(data, _LISTED, seed=3),
    }[name]()

  def _lists(self):
    nothing = prepared.SeenItems(np.zeros(2, np.int64), np.zeros(0, np.int32))
    nobody = self.targets._replace(user=np.zeros(self.total, np.int32))
    return candidates.draw(nobody, nothing, _ITEMS, _LISTED, 3)

  def competitors(self, name, row):
    """Candidates of a row by the rule's definition."""
    data, lists = self.data, self.lists
    user, item, event = (
      int(self.targets._asdict()[x][row]) for x in ('user', 'item', 'event')
    )
    start, end = data.user_offsets[user : user + 2]
    own = data.items[start:end]
    low = self.disliked[user]
    bought = (data.behaviors[start:end] == 2) & (
      data.split[start:end] < prepared.VALIDATION
    )
    gone = {
      'all': [],
      'unseen': [*own, *low],
      'unbought': [*own[bought], *low],
      'past': [*data.items[start:event], *low],
    }
    if name in ('listed', 'own lists'):
      return lists[row, 1:]
    left = set(range(1, _ITEMS + 1)) - set(np.asarray(gone[name]).tolist())
    return np.array(sorted(left - {item}), int)


class RulesTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.world = _World()

  def _case(self, ties, mode):
    """((ranker, routes), targets, order of the rows, literal scores)."""
    world, params = self.world, self.world.params[ties]
    order = np.arange(world.total)
    groups, weights = world.groups[:, :1], world.hard
    if mode == 'soft':
      groups, weights = world.groups, world.soft
    if mode in ('ordered', 'own'):
      order = np.lexsort((weights[:, 0], groups[:, 0]))
    routes = types.Route(groups[order], weights[order])
    targets = prepared.Targets(*(column[order] for column in world.targets))
    if mode == 'shared':  # everybody has the first group's
      routes = None
      first = np.zeros((world.total, 1), np.int32)
      reference = types.Route(first, np.ones(first.shape, np.float32))
    else:
      reference = routes
    trunks = [params, *world.others] if mode == 'own' else [params] * _GROUPS
    # The bare trunk is the first group's.
    owner = np.where(reference.weights[:, 0] > 0, reference.groups[:, 0], 0)
    scores = np.zeros((world.total, _ITEMS + 1))
    for group, trunk in enumerate(trunks):
      shifts = toys.loop_shifts(trunk, reference)
      rows = owner == group if mode == 'own' else slice(None)
      literal = toys.loop_scores(trunk, world.data, targets, _LENGTH, shifts)
      scores[rows] = literal[rows]
    own = trunks if mode == 'own' else params
    ranker = contracts.Ranker(toys.routed_model(), own, None, _LENGTH)
    return (ranker, routes), targets, order, scores

  def _expected(self, rule, order, scores):
    counts = []
    for row, place in enumerate(order):
      others = scores[row, self.world.competitors(rule, place)]
      own = scores[row, self.world.targets.item[place]]
      better, tied = np.sum(others > own), np.sum(others == own)
      counts.append((better, tied, others.size, own))
    return np.array(counts).T

  def test_offline_counts_equal_a_loop_in_every_case(self):
    tied = set()
    for rule, size, ties, mode in _CASES:
      (ranker, routes), targets, order, scores = self._case(ties, mode)
      among = (
        self.world.lists[order]
        if rule == 'own lists'
        else self.world.rule(rule)
      )
      actual = ranking.rank_targets(
        ranking.Task(ranker, self.world.data, targets, routes),
        among,
        sizes=tiles.Sizes(*size),
      )
      expected = self._expected(rule, order, scores)
      message = f'{rule}, {size}, {ties}, {mode}'
      np.testing.assert_array_equal(actual[:4], expected, err_msg=message)
      tied |= {(ties, bool(np.any(expected[1] > 0)))}
    self.assertIn(('many', True), tied)
    self.assertNotIn(('whole catalog', False), tied)

  def test_the_cases_cover_all_pairs_of_factors(self):
    factors = (_RULES, _TILES, _TIES, _PARAMS)
    for a in range(4):
      for b in range(a):
        pairs = {(case[a], case[b]) for case in _CASES}
        missing = len(factors[a]) * len(factors[b]) - len(pairs)
        self.assertEqual(missing, 0, (a, b))

  def test_online_counts_equal_the_same_loop(self):
    world = self.world
    names = ('all', 'past', 'listed')
    among = [world.rule(name) for name in names]
    split = (prepared.VALIDATION, prepared.TEST)
    for row_tile, item_tile in ((64, 64), (16, 16), (256, 1), (1, 64)):
      for ties in _TIES:
        _, targets, order, scores = self._case(ties, 'shared')
        params = world.params[ties]
        table = np.asarray(params.tables['item']['embedding'])
        query = (
          np.array(
            [
              table[
                world.data.items[world.data.user_offsets[u] : end][-_LENGTH:]
              ].sum(axis=0)
              for u, end in zip(targets.user, targets.history_end)
            ]
          )
          + np.asarray(params.net)[0]
        )
        still = np.zeros(world.total, np.float32)
        mixed = np.random.default_rng(1).permutation(world.total)
        blocks = [
          online.Block(
            targets.event[part], query[part].astype('f4'), still[part],
            still[part],
          )
          for part in np.array_split(mixed, 3)
        ]  # fmt: skip
        actual = online.rank(
          online.Queries(blocks, table),
          world.data,
          online.held_out(world.data, split),
          among,
          sizes=tiles.Sizes(row_tile, item_tile),
        )
        self.assertEqual(ties != 'none', bool(actual['tied'].any()))
        past = actual['num_negatives'] - actual['num_negatives_without_past']
        self.assertGreater(past.max(), 0)
        for name, ending, number in (
          ('all', '', 'num_negatives'),
          ('past', '_without_past', 'num_negatives_without_past'),
          ('listed', '_sampled', 'num_sampled'),
        ):
          columns = 'better' + ending, 'tied' + ending, number, 'score'
          np.testing.assert_array_equal(
            [actual[column] for column in columns],
            self._expected(name, order, scores),
          )

  def test_a_fold_gets_every_negative_of_every_row(self):
    fold = counting.Fold(
      lambda positive: np.zeros(positive.size, np.int64),
      lambda state, rows, scores, negative: (
        state
        + np.bincount(rows, negative.sum(axis=1), state.size).astype(np.int64)
      ),
    )
    for among in (self.world.rule('unseen'), self.world.lists):
      (ranker, routes), targets, _, _ = self._case('many', 'hard')
      actual = ranking.rank_targets(
        ranking.Task(ranker, self.world.data, targets, routes),
        among,
        sizes=tiles.Sizes(8),
        fold=fold,
      )
      np.testing.assert_array_equal(actual.folded, actual.num_negatives)

  def test_a_negative_number_of_lists_is_an_error(self):
    with pytest.raises(types.UserError, match='at least 0'):
      rules.listed(self.world.data, -1)
