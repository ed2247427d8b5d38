"""What a run is refused with because of a part of it, followed."""

import pytest

from tests.advice import following
from tests.advice.begun import GRAPHS
from tests.advice.begun import SMALL
from tests.advice.begun import attempt
from tests.advice.following import Case
from tests.advice.following import done
from tests.advice.following import together
from tests.advice.setting import to

MODELS = [
  Case(
    'model.num_heads is {}, but it must divide',
    [*SMALL[:2], 'model.width=6', "model.name='sasrec'"],
    [to('model.num_heads', 3, 'must divide model.width, which is 6')],
  ),
  Case(
    'augment.mix is {}, but this model reads a history',
    [*SMALL, 'augment.mix=0.5'],
    [to('augment.mix', 0.0, 'or augment.mix=0')],
  ),
  Case(
    "train.positions 'masked' needs a model that fills in",
    [*SMALL, "train.positions='masked'"],
    [to('train.positions', 'last', 'use train.positions=last')],
  ),
  Case(
    "train.positions 'every' needs a causal",
    [*SMALL, "train.positions='every'"],
    [to('train.positions', 'last', 'use train.positions=last')],
  ),
  Case(
    "train.positions 'every' needs a causal",
    [*SMALL[:3], "model.name='sasrec'", "train.positions='every'"],
    [to('model.causal', ..., r'model\.causal=(True)')],
  ),
  Case(
    '{} needs train.{}={}, not {}',
    [*SMALL, "train.penalty='fishr'", "train.objective='bpr'"],
    [to('train.objective', 'bce', 'needs train.objective=bce')],
  ),
  Case(
    '{} needs train.{}={}, not {}',
    [
      *SMALL[:3],
      "model.name='gru4rec'",
      "train.penalty='vrex'",
      "train.positions='every'",
    ],
    [to('train.positions', 'last', 'needs train.positions=last')],
  ),
  Case(
    '{} trains the loss of the ranking alone, and',
    [*SMALL[:3], "model.name='dien'", "train.penalty='vrex'"],
    [to('model.auxiliary_weight', 0.0, 'use model.auxiliary_weight=0')],
  ),
  Case(
    "train.penalty 'fishr' compares gradients",
    [*SMALL[:3], "model.name='sasrec_original'", "train.penalty='fishr'"],
    [to('train.penalty', 'vrex', 'or train.penalty=vrex')],
  ),
  Case(
    "train.penalty 'fishr' compares gradients",
    [*SMALL[:3], "model.name='sasrec_original'", "train.penalty='fishr'"],
    [to('model.name', 'sasrec', 'use model.name=sasrec')],
  ),
  Case(
    'steps.py: {} needs an aggregator whose weights',
    [*SMALL, "train.penalty='vrex'", "aggregator.name='pcgrad'"],
    [to('aggregator.name', 'backdoor', 'use joint, backdoor')],
  ),
  Case(
    '{} acts on rows that no group touches',
    [*SMALL, "aggregator.name='agr_rand'", "aggregator.table_gradients='rows'"],
    [to('aggregator.table_gradients', 'dense', 'use dense')],
  ),
]

OF_PAIRS = [one for one in GRAPHS[:-2] if 'width' not in one]
PAIR = """from twotsrec.models import cogcn


def make(config, sizes):
  return cogcn.make(config, sizes)._replace(least_behaviors=2)
"""
BEHAVED = [
  Case(
    'fusion.name={} fuses {} behaviors or',
    [*GRAPHS[1:], "fusion.name='pair.py:make'"],
    [to('fusion.name', 'cogcn', 'or use fusion.name=cogcn')],
    files={'pair.py': PAIR},
  ),
  Case(
    'changes nothing {}; leave it at',
    [*GRAPHS[1:], 'data.strip_heldout=True'],
    [to('data.dataset', 'synthetic-behaviors', 'give a behavior column with')],
  ),
  Case(
    'aggregator.pcd_primary {} is none of {} {}',
    [
      *GRAPHS,
      "behavior.aggregate='behaviors'",
      "aggregator.name='pcd'",
      'aggregator.pcd_primary=4',
    ],
    [to('aggregator.pcd_primary', 3, 'none of 3 behaviors; use 1 to 3')],
  ),
  Case(
    'head.name={} reads one representation for all',
    [*GRAPHS, "head.name='mmoe'"],
    [
      to('fusion.post_behavior', 'merged', 'fusion.post_behavior=merged'),
    ],
  ),
  Case(
    'head.name={} reads one representation for all',
    [*GRAPHS, "head.name='mmoe'"],
    [to('head.name', 'bilinear', 'use head.name experts or bilinear')],
  ),
  Case(
    'fusion.num_layers has {} numbers, but',
    [*GRAPHS, 'fusion.num_layers=(1, 1)'],
    [to('fusion.num_layers', (1, 1, 1), 'are 3 behaviors; give one for each')],
  ),
  Case(
    'fusion.name={} walks all behaviors together',
    [*GRAPHS, "fusion.name='rgcn'", 'fusion.num_layers=(1, 1)'],
    [to('fusion.num_layers', (2,), 'give one')],
  ),
  Case(
    'head.score_scale has {} numbers; give one',
    [*GRAPHS, 'head.score_scale=(1.0, 2.0)'],
    [to('head.score_scale', (1.0,), 'give one, or')],
  ),
  Case(
    'behavior.weights has {} numbers, but',
    [*GRAPHS, 'behavior.weights=(1.0, 1.0)'],
    [to('behavior.weights', ..., r"behavior\.weights='(\(\))'")],
  ),
  Case(
    'behavior.weights is {}; allowed are',
    [*GRAPHS, 'behavior.weights=(0.0, 0.0, 0.0)'],
    [to('behavior.weights', (0.0, 0.0, 1.0), 'from 0, not all 0')],
  ),
  Case(
    'train.select_metric loss judges sequence',
    [*GRAPHS[:-1], "train.select_metric='loss'"],
    [to('train.select_metric', 'hr@10', 'use hr@10')],
  ),
  Case(
    'makes one expert of all other behaviors',
    [*GRAPHS, "head.transfer='attention'"],
    [
      together(
        to('head.gradient_policy', 'stop_all', 'head.gradient_policy=stop_all'),
        to('head.gate', 'none', 'use head.gate=none'),
      )
    ],
  ),
]

FUSED = [
  Case(
    'but fusion.name={} has no table without',
    [*GRAPHS, "fusion.name='cml'", 'fusion.num_layers=(0,)'],
    [to('fusion.num_layers', (1,), 'give 1 or more')],
  ),
  Case(
    'fusion.name=mule takes two numbers',
    [*GRAPHS, "fusion.name='mule'", 'fusion.num_layers=(1, 2, 3)'],
    [to('fusion.num_layers', (1, 4), 'give 1,4,')],
  ),
  Case(
    'fusion.name={} makes two tables of its columns',
    [*GRAPHS, "fusion.name='gnmr'", 'model.width=7'],
    [to('model.width', ..., r'give a multiple of (\d+)')],
  ),
  Case(
    'head.name=neumf divides tables of width',
    [*GRAPHS, "head.name='neumf'", 'model.width=6'],
    [to('model.width', 8, 'use a multiple of 4')],
  ),
  Case(
    'behavior.auxiliary has {} {} times',
    [*GRAPHS, "behavior.auxiliary=('alignment', 'alignment')"],
    [to('behavior.auxiliary', ('alignment',), 'name it once')],
  ),
  Case(
    'behavior.auxiliary has {}, but its weight',
    [
      *GRAPHS,
      "fusion.name='s_mbrec'",
      "behavior.auxiliary=('alignment', 'star')",
    ],
    [
      to('behavior.star_weight', 0.1, 'star_weight is 0; raise the weight'),
    ],
  ),
  Case(
    'behavior.auxiliary has {}, which reads {} of a',
    [*GRAPHS, "behavior.auxiliary=('alignment', 'parallel')"],
    [to('behavior.auxiliary', ('alignment',), 'leave the name out')],
  ),
  Case(
    'behavior.auxiliary has {}, which reads {} of a',
    [*GRAPHS, "behavior.auxiliary=('alignment', 'parallel')"],
    [to('fusion.name', 'pkef', 'or use another fusion')],
  ),
  Case(
    'discovery.by is {}, but these data have no',
    [*GRAPHS[1:], "discovery.by='average'"],
    [to('discovery.by', 'scores', 'use discovery.by=scores')],
  ),
  Case(
    'discovery.by is {}, but with evaluation',
    [
      *GRAPHS,
      "discovery.by='average'",
      "evaluation.candidates='never_interacted'",
    ],
    [
      to(
        'evaluation.candidates',
        'unbought',
        'use evaluation.candidates=unbought',
      )
    ],
  ),
  Case(
    'cascade.alpha {} and cascade.beta {} must sum',
    [*OF_PAIRS, "model.name='cascading_rank'", 'cascade.alpha=0.5'],
    [to('cascade.alpha', 0.1, 'at most 1')],
  ),
  Case(
    'pair_experts tells what a user touched from',
    [*OF_PAIRS[1:], "model.name='pair_experts'"],
    [to('model.name', 'item_knn', 'use item_knn')],
  ),
]

OWN = """from twotsrec import aggregators
from twotsrec import config
from twotsrec import types


def make(options):
  return aggregators.make(config.AggregatorConfig())


text = 'none'


def wrong(options):
  return 'none'
"""


def own(says, name, way, content=OWN) -> Case:
  return Case(
    says, [*SMALL, f"aggregator.name='{name}'"], [way], {'own.py': content}
  )


def rewritten(says):
  return done(lambda folder: (folder / 'own.py').write_text(OWN), says)


FILES = [
  own(
    'own.py: {}: cannot read {}: {}; give the path',
    'nowhere/own.py:make',
    to('aggregator.name', 'own.py:make', 'from the folder you are in'),
  ),
  own(
    'own.py: {} {}: {} has no {}; it has',
    'own.py:mine',
    to('aggregator.name', 'own.py:make', r'it has .*\bmake\b'),
  ),
  own(
    '{} is a {}; name a function that returns a',
    'own.py:text',
    to('aggregator.name', 'own.py:make', 'a function that returns a Grad'),
  ),
  own(
    '{} returns a {}; it must return a',
    'own.py:wrong',
    to('aggregator.name', 'own.py:make', 'return a .*GradientAggregator'),
  ),
  own(
    'own.py: fails: {}: {}; correct it',
    'own.py:make',
    rewritten(r'line 1 fails: .*correct it'),
    'not python',
  ),
]

CASES = [*MODELS, *BEHAVED, *FUSED, *FILES]


@pytest.mark.parametrize('case', CASES, ids=lambda case: case.name)
def test_a_run_begins_as_advised(case, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  following.follow(case, attempt, tmp_path)
