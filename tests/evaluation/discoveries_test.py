import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import small_runs as runs
from tests import worlds
from tests.runs import behavior_runs
from twotsrec import config as config_lib
from twotsrec import contracts
from twotsrec import types
from twotsrec.data import groups as groups_lib
from twotsrec.data import pipeline
from twotsrec.data import prepared as prepared_lib
from twotsrec.evaluation import behaviors
from twotsrec.evaluation import discoveries
from twotsrec.evaluation import fitted
from twotsrec.evaluation import offline
from twotsrec.ops import rows
from twotsrec.studies import trade_off

USERS = 120


@functools.cache
def _experiment(**changes):
  settings = {**behavior_runs.SETTINGS, 'data__users': USERS, **changes}
  config = runs.config(**settings)
  prepared = pipeline.from_config(config.data)
  groups = groups_lib.assign(prepared, config.groups)
  return contracts.Experiment(config, prepared, groups)


@functools.cache
def _experts():
  return fitted.ranker(_experiment(), 'pair_experts')


def _share(ranker):
  """Share of the first ten places that new items take, by user [U]."""
  prepared = _experiment().prepared
  users = jnp.arange(prepared.num_users)
  items = jnp.arange(1, prepared.num_items + 1)

  @jax.jit
  def scores_of(params, context):
    inputs = {'user': users, 'history': jnp.zeros((len(users), 1), jnp.int32)}
    table = params.tables['item']
    history_rows = rows.gather(table, inputs['history'])
    encoded = ranker.model.encode(params.net, history_rows, context, inputs)
    return ranker.model.score(params.net, encoded, rows.gather(table, items))

  scores = np.array(scores_of(ranker.params, ranker.context))
  new = np.ones(scores.shape, bool)
  touched = discoveries.touched_items(_experiment())
  new[touched.users, touched.items - 1] = False
  bought = behaviors.bought(prepared, prepared_lib.VALIDATION)
  scores[bought.users, bought.items - 1] = -np.inf
  first = np.argsort(-scores, axis=1, kind='stable')[:, :10]
  return np.take_along_axis(new, first, axis=1).mean(axis=1)


@pytest.mark.parametrize('share', [0.0, 0.2, 0.5, 1.0])
def test_lists_of_all_have_the_share_together(share):
  experiment = _experiment(discovery__by='average', discovery__share=share)
  found = _share(discoveries.around(experiment, _experts()))
  # Nothing new can stand where a user has too little that was touched.
  assert abs(found.mean() - share) < 0.01
  if 0 < share < 1:
    assert found.std() > 0.05


@pytest.mark.parametrize('share', [0.0, 0.2, 0.5, 1.0])
def test_every_list_has_the_share(share):
  experiment = _experiment(discovery__by='each', discovery__share=share)
  found = _share(discoveries.around(experiment, _experts()))
  np.testing.assert_allclose(found, share)


def test_scores_alone_leave_a_ranker_as_it_is():
  assert discoveries.around(_experiment(), _experts()) is _experts()


@pytest.mark.parametrize('by', ['average', 'each'])
def test_the_curve_has_the_figures_of_a_run(by):
  """One pass gives what ranking with each share gives, if nothing ties."""
  shares, changes = (0.1, 0.4), {'data__validation': False}
  plain = _experiment(**changes)
  alone = fitted.ranker(plain, 'cascading_rank')
  curve = trade_off.curves(plain, alone, shares)
  for share, row in zip(shares, curve[by], strict=True):
    experiment = _experiment(
      discovery__by=by, discovery__share=share, **changes
    )
    ranker = discoveries.around(experiment, alone)
    part = offline.rank(experiment, ranker, 'test').part
    expected = {p['name']: p['hr@10']['value'] for p in part['parts']}
    expected['all'] = part['overall']['hr@10']['value']
    assert row == pytest.approx({'share': share, **expected}, abs=1e-5)


def test_a_log_without_behaviors_has_nothing_to_share_out():
  config = config_lib.Config()
  config.discovery.by = 'each'
  experiment = contracts.Experiment(config, worlds.log()[0], None)
  with pytest.raises(types.UserError, match='discovery.by=scores'):
    discoveries.require_both(experiment)
  discoveries.require_both(_experiment(discovery__by='each'))
  of_new = {'evaluation__candidates': 'never_interacted'}
  discoveries.require_both(_experiment(**of_new))
  with pytest.raises(types.UserError, match='candidates=unbought'):
    discoveries.require_both(_experiment(discovery__by='each', **of_new))
