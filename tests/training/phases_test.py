import chex
import jax
import numpy as np
import pytest

from tests import asked
from tests import worlds
from twotsrec import config as config_lib
from twotsrec.runs import experiment as experiment_lib
from twotsrec.training import phases


def _experiment(train=None, model=None, **aggregator):
  prepared, _ = worlds.log()
  config = config_lib.Config(
    data=config_lib.DataConfig(history_length=5, num_negatives=2),
    groups=config_lib.GroupConfig(num_groups=3),
    model=model or config_lib.ModelConfig(width=4, hidden=(4,)),
    aggregator=config_lib.AggregatorConfig(**aggregator),
    train=train or config_lib.TrainConfig(batch_size=12),
  )
  return experiment_lib.make(config, prepared)


def _phase(**aggregator):
  return phases.make(*asked.first(_experiment(**aggregator)).parts)


@pytest.mark.parametrize(
  ('name', 'form', 'stacked'),
  [
    ('backdoor', 'auto', False),
    ('backdoor', 'explicit', True),
    ('pcgrad', 'auto', True),
  ],
)
def test_batches_are_stacked_by_group_when_the_aggregator_wants_it(
  name, form, stacked
):
  plan = np.asarray(_phase(name=name, form=form).source.plan_of(0))
  assert plan.ndim == (3 if stacked else 2)


def test_a_method_that_asks_for_later_losses_gets_them_in_a_run():
  phase = _phase(name='famo')
  state = phase.init_state()
  logits = np.asarray(state.aggregator_state.logits)
  state, totals = asked.epoch(phase, state, stop=3)
  assert int(state.step) == 3 and int(totals.bad_step) == -1
  assert np.ptp(state.aggregator_state.logits - logits) > 0


def test_sequences_weigh_groups_by_the_positions_they_train():
  """Of a sequence longer than L, only L positions are training samples."""
  train = config_lib.TrainConfig(
    batch_size=12, positions='every', batching='natural'
  )
  model = config_lib.ModelConfig(name='gru4rec', width=4)
  weights = []
  for settings in ({'name': 'joint'}, {'name': 'backdoor', 'tau': 1.0}):
    experiment = _experiment(train, model, weighting='importance', **settings)
    phase = phases.make(*asked.first(experiment).parts)
    state, _ = asked.epoch(phase, phase.init_state(), stop=1)
    weights.append(jax.device_get(state.params))
  longest = np.max(np.asarray(phase.source.feed.weight))
  assert longest == 5  # L cuts some sequences of the log
  # Importance weights of the prior n_j / N undo nothing: joint training.
  chex.assert_trees_all_close(*weights, rtol=1e-4, atol=1e-6)
