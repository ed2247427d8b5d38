import optuna
import pytest

from tests import configured
from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.runs import search_space


def parse(**texts):
  return search_space.parse(config_lib.Config(), configured.paths(texts))


@pytest.mark.parametrize(
  ('path', 'text', 'values'),
  [
    ('model.width', '16,32', [16, 32]),
    ('model.name', 'sasrec,gru4rec', ['sasrec', 'gru4rec']),
    ('model.causal', 'true,False', [True, False]),
    ('model.hidden', '(8,),(8,4)', [(8,), (8, 4)]),
    ('train.penalty_weight', '1,2.5', [1.0, 2.5]),
    ('prior.terms', "(),('repeats',)", [(), ('repeats',)]),
  ],
)
def test_values_between_commas_are_of_the_kind_of_the_setting(
  path, text, values
):
  part = search_space.parse(config_lib.Config(), {path: text})[path]
  assert part.ends == values
  assert [type(one) for one in part.ends] == [type(one) for one in values]
  for value in values:
    assert part.value(part.named(value)) == value
  fixed = optuna.trial.FixedTrial({path: part.named(values[1])})
  assert part.suggest(fixed, path) == values[1]


def test_a_range_is_whole_where_the_setting_is():
  space = parse(model__num_layers='1..3', train__learning_rate='1e-4..1e-2:log')
  layers, rate = space.values()
  assert (layers.low, layers.high, layers.whole, layers.log) == (1, 3, True, 0)
  assert (rate.low, rate.high, rate.whole, rate.log) == (1e-4, 1e-2, False, 1)
  assert rate.named(1e-3) == 1e-3 and rate.named(1.0) is None
  study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
  tried = []
  for _ in range(60):
    trial = study.ask()
    tried.append((layers.suggest(trial, 'a'), rate.suggest(trial, 'b')))
  assert {one for one, _ in tried} == {1, 2, 3}
  # Log-uniform: half of the rates are below the geometric mean.
  below = sum(rate < 1e-3 for _, rate in tried)
  assert 18 <= below <= 42 and all(1e-4 <= r <= 1e-2 for _, r in tried)


@pytest.mark.parametrize(
  ('texts', 'message'),
  [
    ({}, 'give --vary='),
    ({'model.widht': '1,2'}, 'known: .*model.width'),
    ({'model.width': '0..8'}, 'at least 1'),
    ({'model.width': '8..4'}, 'two whole numbers, the smaller first'),
    ({'model.width': '1..2..3'}, 'must be two'),
    ({'train.learning_rate': '0..1:log'}, 'positive ones before :log'),
    ({'model.causal': 'false..true'}, 'must be two'),
    ({'model.width': 'wide'}, 'must be a whole number'),
    ({'train.objective': 'bpr,magic'}, 'known: bce'),
  ],
)
def test_what_a_setting_cannot_be_is_refused(texts, message):
  with pytest.raises(types.UserError, match=message):
    search_space.parse(config_lib.Config(), texts)


def test_flags_have_a_setting_and_its_values():
  given = search_space.of_flags(['a.b=1,2', 'c.d=x=y', 'a.b=3'])
  assert given == {'a.b': '3', 'c.d': 'x=y'}
  for text in ('a.b', '=1', 'a.b='):
    with pytest.raises(types.UserError, match='such as'):
      search_space.of_flags([text])
