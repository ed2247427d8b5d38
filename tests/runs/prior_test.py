"""Runs of a sequence model whose scores gain what histories say."""

import copy

import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest

from tests import finished
from tests import small_runs as runs
from twotsrec import config as config_lib
from twotsrec import recipes
from twotsrec import types
from twotsrec.evaluation import gathers
from twotsrec.evaluation import offline
from twotsrec.evaluation import prior_fit
from twotsrec.ops import rows
from twotsrec.runs import experiment as experiment_lib
from twotsrec.runs import recommend
from twotsrec.runs import run as run_lib
from twotsrec.runs import tables
from twotsrec.training import files

TERMS = config_lib.PRIOR_TERMS


_run = finished.prior


def _report(path):
  return files.read_json(path / 'report.json')


def test_the_weights_of_a_report_rank_as_it_says():
  path = _run()
  report = _report(path)
  prior = report['training']['prior']
  assert prior['events'] == 30 and len(prior['names']) == 14
  assert prior['loss'][1] < prior['loss'][0]
  assert 'fitted on 30 validation events' in tables.of_report(report)
  experiment, params = experiment_lib.load(str(path))
  assert list(experiment.config.prior.weights) == prior['weights']
  ranker = experiment_lib.ranker(experiment, params)
  ranked = offline.rank(experiment, ranker, 'test')
  with np.load(path / 'per_target.npz') as saved:
    for name in ('better', 'tied', 'num_negatives'):
      np.testing.assert_array_equal(ranked.rows[name], saved[name])


def test_the_model_itself_is_trained_to_the_same_bits():
  (_, params), (experiment, alone) = (
    experiment_lib.load(str(_run(terms))) for terms in (TERMS, ())
  )
  runs.assert_same_arrays(params, alone)
  assert 'prior' not in _report(_run(()))['training']
  assert experiment.config.prior.weights == ()


def test_lists_are_of_the_same_scores(tmp_path):
  path = _run()
  recommend.run(
    str(path), str(tmp_path / 'all.csv'), recommend.Options(k=15), quiet=True
  )
  experiment, params = experiment_lib.load(str(path))
  ranker = experiment_lib.ranker(experiment, params)
  data, length = experiment.prepared, ranker.history_length
  # Beyond the four events that the model reads.
  assert length == np.diff(data.user_offsets).max() > 4
  offsets = np.asarray(data.user_offsets)
  history = gathers.histories(data.items, offsets[:-1], offsets[1:], length)
  inputs = {'history': jnp.asarray(history), 'user': jnp.arange(30)}
  table, net = ranker.params.tables['item'], ranker.params.net
  encoded = ranker.model.encode(
    net, rows.gather(table, inputs['history']), ranker.context, inputs
  )
  items = rows.gather(table, jnp.arange(1, 16))
  scores = np.asarray(ranker.model.score(net, encoded, items))
  best = np.argsort(-scores, axis=1, kind='stable')
  listed = pl.read_csv(tmp_path / 'all.csv').sort('user_id', 'rank')
  assert listed['item_id'].to_list() == best.ravel().tolist()
  np.testing.assert_allclose(
    listed['score'], np.take_along_axis(scores, best, 1).ravel(), atol=1e-4
  )


def test_a_model_with_plugins_takes_a_prior():
  experiment, params = experiment_lib.load(str(finished.run('ga_pn')))
  config = copy.deepcopy(experiment.config)
  config.prior.terms = TERMS
  experiment = experiment._replace(config=config)
  ranker = experiment_lib.ranker(experiment, params)  # without weights
  fitted = prior_fit.fit(experiment, ranker)
  assert fitted['loss'][1] < fitted['loss'][0]
  # A model alone is the point that the fit begins with.
  config.prior.weights = (1.0,) + (0.0,) * 13
  same = experiment_lib.ranker(experiment, params)
  one, other = (
    offline.rank(experiment, made, 'test').rows['better']
    for made in (ranker, same)
  )
  np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'prior.terms': ('repeat',)}, "prior.terms 'repeat'; known: repeats"),
    ({'prior.weights': (1.0,)}, 'changes nothing with prior.terms=()'),
    (
      {'prior.terms': ('repeats',), 'prior.weights': (1.0, 2.0)},
      'prior.weights has 2 values, but prior.terms .* has 10: model, had 1 ago',
    ),
    ({'prior.terms': TERMS, 'data.validation': False}, 'validation events'),
  ],
)
def test_what_cannot_be_fitted_is_refused(tmp_path, changes, message):
  config = runs.config(train__select_metric='none')
  config_lib.change(config, changes)
  with pytest.raises(types.UserError, match=message):
    run_lib.train(config, str(tmp_path / 'run'), quiet=True)
  assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize('model', ['ease', 'multi_behavior', 'two_time_scale'])
def test_models_that_read_no_history_take_no_prior(model):
  config = config_lib.Config()
  config_lib.change(config, {'model.name': model, 'prior.terms': TERMS})
  with pytest.raises(types.UserError, match='prior.terms.* use a sequence'):
    recipes.check(config)
