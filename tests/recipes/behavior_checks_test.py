import pytest

from tests import behavior_toys as toys
from twotsrec import config as config_lib
from twotsrec import recipes
from twotsrec import types


@pytest.mark.parametrize(
  ('variant', 'changes', 'blamed'),
  [
    ('bilinear', {'head__tower': 'mean'}, 'head.name=bilinear'),
    ('bilinear', {'head__transfer': 'identity'}, 'head.name=bilinear'),
    ('mmoe', {'head__transfer_scale': 0.1}, 'head.name=mmoe'),
    ('ple', {'head__unique_weight': 1.0}, 'head.name=ple'),
    ('ple', {'head__num_experts': 4}, 'head.name=ple'),
    ('copf', {'head__relation_init': 'ones'}, 'head.name=experts'),
    ('copf', {'head__linear_tower': True}, 'head.name=experts'),
    ('copf', {'head__unique_label': 'task_only'}, 'head.unique_weight=0.0'),
    ('wo_fit', {'head__alpha': 0.2}, 'head.transfer=identity'),
    ('linear', {'head__modulate_residual': False}, 'head.transfer=linear'),
    ('attention', {'head__gate_order': 'behavior'}, 'head.transfer=attention'),
    ('attention', {'head__transfer_scale': 0.1}, 'head.transfer=attention'),
    (
      'no_aggregation',
      {'head__gradient_policy': 'stop_all'},
      'head.transfer=none',
    ),
    ('wo_back', {'head__stop_gate': False}, 'head.gradient_policy=none'),
    ('copf', {'fusion__keep_initial': True}, 'fusion.pre_behavior=all'),
    ('copf_h', {'fusion__operator': 'summed'}, 'fusion.in_behavior=own'),
    ('wo_con', {'behavior__anchors': 'all'}, 'behavior.contrastive=0.0'),
    (
      'copf',
      {'behavior__l2': 0.0, 'behavior__l2_scope': 'all'},
      'behavior.l2=0.0',
    ),
    ('copf', {'behavior__prior_scale': 5.0}, 'behavior.prior=none'),
    ('copf', {'aggregator__tau': 1.0}, 'behavior.aggregate=loss'),
    ('copf', {'aggregator__name': 'backdoor'}, 'behavior.aggregate=loss'),
    ('copf', {'aggregator__form': 'explicit'}, 'behavior.aggregate=loss'),
    ('copf', {'aggregator__weighting': 'importance'}, 'behavior.aggregate='),
    ('copf', {'aggregator__gradvac_beta': 0.5}, 'behavior.aggregate=loss'),
    ('copf', {'data__num_negatives': 7}, 'plugin.name=none'),
    ('copf', {'routing__cold': 'trunk'}, 'plugin.name=none'),
    ('copf', {'train__inner_rate': 0.5}, 'model.name=multi_behavior'),
    ('copf', {'evaluation__num_candidates': 9}, 'evaluation.candidates=unb'),
    ('copf_d', {'head__unique_weight': 1.0}, 'fusion.post_behavior=merged'),
    ('summation', {'head__gate_order': 'behavior'}, 'head.gate=none'),
    (
      'no_aggregation',
      {'head__gradient_policy': 'stop_target', 'head__stop_gate': False},
      'head.transfer=none',
    ),
    (
      'copf',
      {'fusion__num_layers': (0, 0, 0), 'fusion__operator': 'summed'},
      'fusion.num_layers=(0, 0, 0)',
    ),
  ],
)
def test_what_nothing_reads_is_refused(variant, changes, blamed):
  made = toys.config(variant, **changes)
  with pytest.raises(types.UserError) as caught:
    recipes.check(made)
  message = str(caught.value)
  path = list(changes)[-1].replace('__', '.')
  assert message.startswith(path) and '\n' not in message
  assert f'changes nothing with {blamed}' in message


def test_groups_of_samples_are_refused():
  with pytest.raises(types.UserError, match='use user_train_count'):
    recipes.check(toys.config(groups__key='sample_history_len'))


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    (
      {'behavior__loss': 'log'},
      "behavior.loss 'log'; known: bpr, bce, hinge, softmax",
    ),
    (
      {'behavior__negatives': 0},
      'behavior.negatives 0 must be at least 1',
    ),
    (
      {'behavior__auxiliary': ('align',)},
      "behavior.auxiliary 'align' is unknown; known: alignment, unique",
    ),
    (
      {'behavior__epoch': 'items'},
      "behavior.epoch 'items'; known: users, pairs",
    ),
    (
      {'behavior__init_std': 0.2},
      'behavior.init_std 0.2 changes nothing with behavior.init=xavier; leave'
      ' it at 0.1, or use behavior.init=normal',
    ),
  ],
)
def test_a_wrong_objective_is_refused_in_one_line(changes, message):
  with pytest.raises(types.UserError) as caught:
    recipes.check(toys.config(**changes))
  assert str(caught.value).startswith(message)
  assert '\n' not in str(caught.value)


@pytest.mark.parametrize('candidates', config_lib.CANDIDATES)
def test_any_candidates_can_be_asked_for(candidates):
  recipes.check(toys.config(evaluation__candidates=candidates))


def test_plugins_leave_a_gradient_in_one_pass():
  over_groups = {'behavior__aggregate': 'groups', 'plugin__trunk': 'runs/a'}
  plugin = {'plugin__name': 'light', 'plugin__points': 'Z'}
  made = toys.config(
    **over_groups,
    **plugin,
    plugin__trunk_learning_rate=0.0,
    aggregator__form='explicit',
  )
  with pytest.raises(types.UserError, match='nothing with plugin.name=light'):
    recipes.check(made)


def test_a_plugin_of_the_head_needs_parameters_there():
  changes = {
    'plugin__trunk': 'runs/a',
    'plugin__trunk_learning_rate': 0.0,
    'plugin__name': 'naive',
  }
  recipes.check(toys.config('copf', **changes))
  # What a bilinear head moves does not stand behind a gate.
  recipes.check(toys.config('wo_dfme', **changes, head__gate='none'))
  with pytest.raises(types.UserError, match='use light or film'):
    recipes.check(toys.config('summation', **changes))
