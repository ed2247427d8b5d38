"""What functions of models and of evaluation refuse, and what they advise."""

from collections.abc import Sequence
import functools
import re
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import sparse

from tests import behavior_toys
from tests import configured
from tests import worlds
from tests.advice import following
from tests.advice import messages
from tests.advice.following import Call
from tests.evaluation import comparison_test
from tests.evaluation import online_report_test
from tests.models import fusions
from tests.training import loops
from twotsrec import aggregators
from twotsrec import config as config_lib
from twotsrec import contracts
from twotsrec import models
from twotsrec import own
from twotsrec import recipes
from twotsrec import types
from twotsrec.aggregators import blocks
from twotsrec.aggregators import linear
from twotsrec.data import pipeline
from twotsrec.data import prepared as prepared_lib
from twotsrec.data import routing
from twotsrec.data import splits
from twotsrec.evaluation import buckets
from twotsrec.evaluation import fitted
from twotsrec.evaluation import online
from twotsrec.evaluation import online_report
from twotsrec.evaluation import prior_fit
from twotsrec.evaluation import protocols
from twotsrec.evaluation import rules
from twotsrec.evaluation import tiles
from twotsrec.models import ccf
from twotsrec.models import closed_form
from twotsrec.models import multi_behavior
from twotsrec.models import pair_prior
from twotsrec.objectives import beside
from twotsrec.objectives import sampled
from twotsrec.ops import contrastive
from twotsrec.plugins import plugged
from twotsrec.serving import recommend
from twotsrec.training import phases
from twotsrec.training import plugin_spread
from twotsrec.training import steps

SIZES = types.Sizes(12, 30, 5)
SUMS = np.ones((2, 2, 3))


def shrunk(shrinkage: float, mode: str) -> types.Route:
  """Routes of two users of the random log."""
  options = config_lib.RoutingConfig(mode=mode, shrinkage=shrinkage)
  two = np.array([4, 9])
  return routing.of_histories(two, worlds.log()[1], 'user_seq_len', options)


def experiment(
  prepared: prepared_lib.Prepared | None = None, **changes
) -> contracts.Experiment:
  """Of the random log or another, without a system."""
  made, (log, groups) = configured.by(**changes), worlds.log()
  return contracts.Experiment(made, prepared or log, groups)


def of_behaviors() -> contracts.Experiment:
  """Of a log with behaviors, which some names need."""
  options = config_lib.DataConfig(dataset='synthetic-behaviors', users=40)
  return experiment(pipeline.from_config(options))


# Names that functions take, which a configuration has as those of a setting.
NAMED = {
  'evaluation.rules {}; known': (
    lambda name: fitted.ranker(of_behaviors(), name)
  ),
  'aggregator form {}; known': lambda name: steps.resolve_form(
    aggregators.make(config_lib.AggregatorConfig()), name
  ),
  'fields.py: {} {} is unknown; known: {}': (
    lambda name: contrasted(0.5, similarity=name)
  ),
}


@pytest.mark.parametrize('words', NAMED)
def test_names_that_are_allowed_are_taken(words):
  with following.made() as at, pytest.raises(types.UserError) as error:
    NAMED[words]('nonsense')
  assert messages.says(at[-1].message, words)
  listed = re.search(r'known: (.*)', str(error.value))
  names = re.sub(r' \(.*?\)', '', listed[1]).split(', ')
  assert len(names) > 1
  for name in names:
    NAMED[words](name)


def contrasted(temperature: float, similarity: str = 'cosine') -> jax.Array:
  """The contrastive loss of two anchors, as a program."""
  table = jax.ShapeDtypeStruct((4, 3), jnp.float32)
  pairs = jax.ShapeDtypeStruct((2,), jnp.int32)
  loss = functools.partial(
    contrastive.info_nce, temperature=temperature, similarity=similarity
  )
  weights = jax.ShapeDtypeStruct((2,), jnp.float32)
  anchors = jax.ShapeDtypeStruct((2, 3), jnp.float32)
  return jax.eval_shape(loss, anchors, weights, pairs, table)


def losses_of(name: str, weight: float = 1.0):
  """The objective of a model with a loss beside the ranking."""
  options = config_lib.ModelConfig(
    name='dien', width=4, auxiliary_weight=weight
  )
  return beside.make(sampled.Loss(name), models.make(options))


def weighted(prior: Sequence[float]) -> jax.Array:
  info = types.GroupInfo(*(jnp.ones(3) for _ in types.GroupInfo._fields))
  return linear.backdoor_weights(prior=prior)(info)


# Models.


def of_graphs() -> config_lib.Config:
  return behavior_toys.config()


def trained_alone():
  """The model that ranks what COPF has learned, asked to begin by itself."""
  model, _, _ = behavior_toys.system(of_graphs())
  model.ranker.init(jax.random.key(0), {}, SIZES)


def with_features(context: dict, width: int):
  config = configured.by(model__width=4, two_time__feature_width=width)
  with mock.patch.object(ccf.item_features, 'init', lambda *sizes: {}):
    return ccf.init(jax.random.key(0), context, SIZES, config)


def clicks(count: int) -> sparse.csr_matrix:
  """Users by items, the first of which is padding."""
  return sparse.csr_matrix(np.ones((3, count + 1), np.float32))


def ranked_by(name: str):
  with mock.patch.object(closed_form, 'LARGEST', 3):
    closed_form._FITS[name](clicks(4), config_lib.ClosedFormConfig())


def model_of(name: str) -> types.Model:
  return models.make(config_lib.ModelConfig(name=name, width=4))


def without_stages() -> types.Model:
  return worlds.mean_model()


# Evaluation.


def split_of(validation: bool) -> prepared_lib.Prepared:
  """The random log, with validation events or without."""
  log, _ = worlds.log()
  split = splits.leave_last_out(np.asarray(log.event_users), validation)
  return log._replace(split=split)


def in_buckets(edges: Sequence[int]):
  buckets.check(edges)


def side_by_side(*lists: int) -> str:
  """Reports of systems with so many candidates beside an item."""
  ranked, shown = ranked_online(), online_report_test._SHOWN
  return online_report.format_table(
    {
      f'system {number}': online_report.build(ranked, shown._replace(lists=n))
      for number, n in enumerate(lists)
    }
  )


@functools.cache
def ranked_online():
  return online_report_test._ranked()[1]


def with_prior(validation: bool, terms: tuple[str, ...]):
  prior_fit.require_events(experiment(split_of(validation), prior__terms=terms))


def routed(groups: int, params) -> types.Params:
  """Parameters of a tile of users, each with so many groups."""
  shape = (2, groups) if groups > 1 else (1,)
  route = types.Route(np.zeros(shape, np.int32), np.ones(shape, np.float32))
  return tiles._tile_params(params, route)


PARAMS = types.Params({}, {})


def phased(name: str) -> phases.Phase:
  """A phase of an aggregator, whose batches have no row per group."""
  aggregator = aggregators.make(config_lib.AggregatorConfig(name=name))
  form, phase = steps.resolve_form(aggregator, 'auto'), loops.phase()
  update = phase.how.update._replace(stacked=form == 'explicit')
  how = phase.how._replace(update=update)
  return phases.make(phase.learner, phase.source, how)


CALLS = [
  Call(
    'no block {}; known: {}',
    lambda folder: blocks.select({'net': {'a': jnp.ones(2)}}, 'net/b'),
    r'known: (\S+)',
    lambda folder, name: blocks.select({'net': {'a': jnp.ones(2)}}, name),
  ),
  Call(
    'aggregator prior has {} values for {} groups',
    lambda folder: weighted((1.0, 2.0)),
    r'for (\d) groups; give one per group',
    lambda folder, number: weighted((1.0,) * int(number)),
  ),
  Call(
    'a temperature of {}; the contrastive loss needs',
    lambda folder: contrasted(0.0),
    'needs one above 0',
    lambda folder: contrasted(0.1),
  ),
  *(
    Call(
      'batches of this model cannot be cut by group',
      lambda folder: phased('pcgrad'),
      f'known before the gradient: .*({name})',
      lambda folder, name: phased(name),
    )
    for name in ('joint', 'backdoor', 'class_balanced')
  ),
  Call(
    'is trained as a whole; see launch/train.py with',
    lambda folder: trained_alone(),
    r'with model\.name=(\w+)',
    lambda folder, name: recipes.check(behavior_toys.config(model__name=name)),
  ),
  Call(
    'is {}, but there {} item features; {}',
    lambda folder: with_features({}, 2),
    'set it to (0)',
    lambda folder, width: with_features({}, int(width)),
  ),
  Call(
    'is {}, but there {} item features; {}',
    lambda folder: with_features({}, 2),
    'or prepare them with --(features)',
    lambda folder, name: with_features({name: {}}, 2),
  ),
  Call(
    'is {}, but there {} item features; {}',
    lambda folder: with_features({'features': {}}, 0),
    'share of model.width, (1) or more',
    lambda folder, width: with_features({'features': {}}, int(width)),
  ),
  Call(
    'model.name ease inverts a matrix of {} x {}',
    lambda folder: ranked_by('ease'),
    r'use (\w+) for more',
    lambda folder, name: ranked_by(name),
  ),
  *(
    Call(
      'fits each of the 2^(K-1) patterns of upstream',
      lambda folder: pair_prior.check(17),
      advice,
      advised,
    )
    for advice, advised in (
      (
        r'at most (\d+): prepare them with fewer',
        lambda folder, most: pair_prior.check(int(most)),
      ),
      (
        r'or use behavior\.prior=(\w+)',
        lambda folder, name: multi_behavior.make(
          behavior_toys.config(behavior__prior=name), 17, 6, 8
        ),
      ),
    )
  ),
  Call(
    '{} needs a sequence model with stages: din',
    lambda folder: sampled.check_stages(
      'train.penalty vrex', without_stages(), config_lib.TrainConfig()
    ),
    r'with stages: .*(gru4rec)',
    lambda folder, name: sampled.check_stages(
      'train.penalty vrex', model_of(name), config_lib.TrainConfig()
    ),
  ),
  *(
    Call(
      'train.{} {} draws no negatives for a history',
      lambda folder: losses_of('cross_entropy'),
      advice,
      advised,
    )
    for advice, advised in (
      (
        r'train\.objective=(bce)',
        lambda folder, name: losses_of(name),
      ),
      (
        r'model\.auxiliary_weight=(\d)',
        lambda folder, weight: losses_of('cross_entropy', float(weight)),
      ),
    )
  ),
  Call(
    'has no stages for a plugin to attach to; choose',
    lambda folder: plugged.with_stages(without_stages(), 'mean'),
    r'a sequence model such as (\w+)',
    lambda folder, name: plugged.with_stages(model_of(name), name),
  ),
  Call(
    'does not stand at the top of a file, so a run',
    lambda folder: own.name_of(lambda options: None),
    'write it into a file of its own',
    lambda folder: own.name_of(worlds.mean_model),
  ),
  Call(
    'bucket edges are {}; they must be at least 1',
    lambda folder: in_buckets((9, 3)),
    r'such as \((.*)\)',
    lambda folder, edges: in_buckets([*map(int, edges.split(', '))]),
  ),
  Call(
    'for different users or items cannot be paired',
    lambda folder: comparison_test.against(
      comparison_test.make_targets(0), comparison_test.make_targets(0, users=41)
    ),
    'need the same held-out items',
    lambda folder: comparison_test.against(
      comparison_test.make_targets(0), comparison_test.make_targets(1)
    ),
  ),
  Call(
    'no events are held out for {}; prepare the data',
    lambda folder: online.held_out(split_of(False), prepared_lib.VALIDATION),
    'with a split that has them',
    lambda folder: online.held_out(split_of(True), prepared_lib.VALIDATION),
  ),
  Call(
    'were evaluated on other events, candidates or',
    lambda folder: side_by_side(9, 8),
    'evaluate both alike',
    lambda folder: side_by_side(9, 9),
  ),
  Call(
    'has weights that are fitted on validation events',
    lambda folder: with_prior(False, ('repeats',)),
    r'data\.validation=(True)',
    lambda folder, value: with_prior(value == 'True', ('repeats',)),
  ),
  Call(
    'has weights that are fitted on validation events',
    lambda folder: with_prior(False, ('repeats',)),
    r'--config\.prior\.terms="\(\)"',
    lambda folder: with_prior(False, ()),
  ),
  Call(
    'the {} split is empty; prepare the data with one',
    lambda folder: protocols.targets(
      split_of(False), 'all', prepared_lib.VALIDATION
    ),
    r'data\.validation=(True)',
    lambda folder, value: protocols.targets(
      split_of(value == 'True'), 'all', prepared_lib.VALIDATION
    ),
  ),
  Call(
    'evaluation_lists is {}; it must be at least 0',
    lambda folder: rules.listed(worlds.log()[0], -1),
    r'at least (\d)',
    lambda folder, least: rules.listed(worlds.log()[0], int(least)),
  ),
  Call(
    'tiles.py: {} is {}; it must be at least 1',
    lambda folder: tiles.plan(5, 5, tiles.Sizes(0, 5)),
    r'at least (\d)',
    lambda folder, least: tiles.plan(5, 5, tiles.Sizes(int(least), 5)),
  ),
  Call(
    'requests.py: k is {}; it must be at least 1',
    lambda folder: [*recommend.recommend(None, [], num_items=5, k=0)],
    r'at least (\d)',
    lambda folder, least: [
      *recommend.recommend(None, [], num_items=5, k=int(least))
    ],
  ),
  *(
    Call(
      'tiles.py: routing.mode soft blends plugins of',
      lambda folder: routed(2, [PARAMS] * 3),
      advice,
      lambda folder, more=more: routed(*more),
    )
    for advice, more in (
      ('use frozen or dynamic', (1, [PARAMS] * 3)),
      ('plugin.select=global', (2, PARAMS)),
    )
  ),
  Call(
    'routing.mode shrunk needs the ratio of noise to',
    lambda folder: shrunk(0.0, 'shrunk'),
    'or use frozen, (dynamic) or soft',
    lambda folder, mode: shrunk(0.0, mode),
  ),
  Call(
    'routing.mode shrunk needs two batches or more',
    lambda folder: plugin_spread.spread(SUMS, np.array([[3, 0], [3, 2]])),
    'lower train.batch_size or groups.num_groups',
    lambda folder: plugin_spread.spread(SUMS, np.array([[3, 1], [3, 1]])),
  ),
  Call(
    'fusion.num_heads is {}, but it must divide model.width',
    lambda folder: fusions.make('gcmc_gat', num_heads=3),
    'use (1)',
    lambda folder, heads: fusions.make('gcmc_gat', num_heads=int(heads)),
  ),
  Call(
    'the model gives NaN scores, so nothing can be',
    lambda folder: tiles.check_scores(np.isnan(np.log(-np.ones(1))).any()),
    'use an earlier checkpoint or a lower learning_rate',
    lambda folder: tiles.check_scores(np.isnan(np.log(np.ones(1))).any()),
  ),
]


@pytest.mark.filterwarnings('ignore:invalid value:RuntimeWarning')
@pytest.mark.parametrize('call', CALLS, ids=lambda call: call.name)
def test_calls_go_on_as_advised(call, tmp_path):
  following.obey(call, tmp_path)
