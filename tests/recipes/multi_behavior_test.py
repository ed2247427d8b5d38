import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import asked
from tests import behavior_toys as toys
from tests import small_runs as runs
from tests.runs import behavior_runs
from twotsrec import config as config_lib
from twotsrec import contracts
from twotsrec import types
from twotsrec.data import groups as groups_lib
from twotsrec.data import interactions
from twotsrec.data import prepared as prepared_lib
from twotsrec.recipes import multi_behavior
from twotsrec.runs import experiment as experiment_lib
from twotsrec.runs import run as runs_lib
from twotsrec.training import optimizers
from twotsrec.training import phases


def _experiment(variant='no_aggregation', dense=None, **changes):
  changes = {'behavior__contrastive': 0.0, 'train__select_metric': 'none'} | (
    changes
  )
  made = toys.config(variant, **changes)
  model, context, _ = toys.system(made, dense)
  groups = groups_lib.Groups(
    np.arange(toys.USERS) % 2, np.zeros(1), np.array([9, 4]), np.zeros(2)
  )
  system = multi_behavior.System(
    model=model,
    stage2=None,
    behaviors=toys.behaviors(dense),
    context=context,
    serve=model.serve,
  )
  return contracts.Experiment(made, None, groups, system)


def _epochs(experiment, count=1):
  """(parameters before, state after, totals) of some epochs."""
  phase = phases.make(*asked.first(experiment).parts)
  state = phase.init_state()
  before = jax.tree.map(np.array, state.params)
  for epoch in range(count):
    state, totals = asked.epoch(phase, state, epoch)
  return before, state, totals


@pytest.mark.parametrize(
  ('aggregate', 'aggregator'),
  [('behaviors', 'famo'), ('groups', 'backdoor')],
)
def test_an_epoch_sees_every_pair_that_its_users_give(aggregate, aggregator):
  experiment = _experiment(
    behavior__aggregate=aggregate, aggregator__name=aggregator
  )
  before, state, totals = _epochs(experiment)
  assert int(state.step) == 2 and int(totals.bad_step) == -1
  expected = [np.minimum(mask.sum(1), 3).sum() for mask in toys.masks()]
  np.testing.assert_array_equal(totals.weight, expected)
  assert np.all(np.asarray(totals.loss) > 0)
  moved = np.abs(
    state.params.tables['user']['embedding']
    - before.tables['user']['embedding']
  )
  assert np.all(moved.max(1) > 0)
  if aggregator == 'famo':  # it saw the losses after the updates
    assert np.any(state.aggregator_state.logits != 0)


def test_an_epoch_of_pairs_trains_the_target_as_often_as_it_has_pairs():
  experiment = _experiment(
    behavior__epoch='pairs',
    behavior__samples=1,
    behavior__weights=(0.0, 0.0, 1.0),
    behavior__loss='softmax',
    behavior__negatives=3,
    behavior__l2_scope='batch',
    behavior__init='normal',
  )
  count = int(toys.masks()[2].sum())
  _, state, totals = _epochs(experiment)
  assert int(state.step) == -(-count // 4) and int(totals.bad_step) == -1
  np.testing.assert_array_equal(totals.weight, [0, 0, count])
  source = asked.first(experiment).parts.source
  # Two batches of an epoch may begin with the same user.
  draw = lambda *users: source.batch_of(
    source.feed, jnp.array(users), jax.random.key(0)
  ).pairs[2]
  one, other = draw(1, 2, 3, 0), draw(1, 3, 2, 0)
  assert one.negative.shape[1] == 3
  assert not np.array_equal(one.negative, other.negative)


def test_dislikes_that_nothing_would_train_against_are_refused():
  event = np.arange(3)
  data = prepared_lib.build(
    event,
    event + 1,
    np.zeros(3, np.int8),
    user_ids=event,
    item_ids=event,
    behaviors=np.array([0, 1, 1]),
    behavior_names=('view', 'buy'),
    disliked=interactions.Pairs(np.array([0]), np.array([2])),
    options={'filters': {'dislikes': 'negatives'}},
  )
  experiment = contracts.Experiment(toys.config('no_aggregation'), data, None)
  with pytest.raises(types.UserError, match='--dislikes=seen'):
    multi_behavior.build(experiment)


def test_groups_are_as_large_as_their_pairs_with_a_loss():
  experiment = _experiment(
    behavior__weights=(0.0, 0.5, 0.5),
    behavior__aggregate='groups',
    aggregator__name='backdoor',
    groups__num_groups=2,
  )
  sizes = asked.first(experiment).parts.source.sizes
  _, cart, buy = toys.masks()
  by_user = cart.sum(1) + buy.sum(1)
  expected = [by_user[::2].sum(), by_user[1::2].sum()]
  np.testing.assert_array_equal(sizes, expected)


def test_a_behavior_without_pairs_keeps_the_others_going():
  view, cart, buy = toys.masks()
  experiment = _experiment(
    'copf_prior',
    (view, np.zeros_like(cart), buy),
    behavior__aggregate='behaviors',
    aggregator__name='backdoor',
    train__batch_size=64,  # more than there are users
  )
  _, state, totals = _epochs(experiment)
  assert int(totals.bad_step) == -1
  weight = np.asarray(totals.weight)
  assert weight[1] == 0 and np.all(weight[[0, 2]] > 0)
  for leaf in jax.tree.leaves(state.params):
    assert np.all(np.isfinite(leaf))


def test_the_learning_rate_falls_once_in_as_many_steps_as_batches_are_full(
  monkeypatch,
):
  # Six users make one full batch of four.
  experiment = _experiment(train__batch_size=4, behavior__decay_rate=0.5)
  make, made = optimizers.make, []
  kept = lambda *of: made.append(make(*of)) or made[-1]
  monkeypatch.setattr(optimizers, 'make', kept)
  asked.first(experiment)
  (optimizer,) = made
  state = optimizer.init(jnp.ones(()))
  # Adam's first moment over the root of its second is 1 while gradients are 1.
  rates = []
  for _ in range(7):
    update, state = optimizer.update(jnp.ones(()), state)
    rates.append(-float(update))
  expected = [1e-3 * 0.5**step for step in range(7)]
  np.testing.assert_allclose(rates, expected, rtol=1e-4)


def test_a_diagnosis_shows_experts_and_gates_of_the_target():
  experiment = _experiment('copf')
  phase = phases.make(*asked.first(experiment).parts)
  state, model = phase.init_state(), experiment.system.model
  found = phase.how.diagnose(state, phase.learner.context, None, None, None)
  tables = model.encode(state.params, phase.learner.context).behaviors
  expected = [np.sqrt(np.mean(np.square(table))) for table in tables]
  np.testing.assert_allclose(found['table_rms'], expected, rtol=1e-4)
  assert found['expert_rms'].shape == found['gate_std'].shape == (3,)
  assert found['expert_rms'][0] > found['expert_rms'][1:].max()
  np.testing.assert_allclose(found['gate_mean'].sum(), 1.0, rtol=1e-5)


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'train__select_metric': 'loss'}, 'loss judges sequence models'),
  ],
)
def test_settings_that_do_not_go_together_are_refused(changes, message):
  with pytest.raises(types.UserError, match=message) as caught:
    asked.first(_experiment(**changes))
  assert '\n' not in str(caught.value)


def _config(**changes) -> config_lib.Config:
  """The run with alignment and experts that others take for their trunk."""
  made = {
    **behavior_runs.GRAPHS,
    'head__name': 'experts',
    'behavior__contrastive': 0.1,
    'train__select_metric': 'hr@10',
    'train__epochs': 2,
    'train__batch_size': 24,  # two steps an epoch: it stops in the middle
  }
  return runs.config(**made | changes)


def test_a_stopped_run_ends_as_one_that_was_not(tmp_path):
  whole, parts = str(tmp_path / 'whole'), str(tmp_path / 'parts')
  report = runs_lib.train(_config(), whole, quiet=True)
  assert report['training']['selected_epoch'] in (1, 2)
  assert runs_lib.train(_config(), parts, lambda: True, quiet=True) is None
  runs_lib.train(_config(), parts, quiet=True)
  _, first = experiment_lib.load(whole)
  _, second = experiment_lib.load(parts)
  runs.assert_same_arrays(first, second)


def test_what_limits_a_run_is_said_and_kept(tmp_path, caplog):
  made = _config(
    head__name='bilinear',
    behavior__contrastive=0.0,
    data__behaviors=('view', 'cart', 'gift', 'buy'),
    train__epochs=1,
  )
  report = runs_lib.train(made, str(tmp_path / 'run'), quiet=True)
  note = "behavior 'gift' has no training row"
  assert note in report['dataset']['notes'] and note in caplog.text
  assert np.isfinite(report['test']['overall']['hr@10']['value'])
