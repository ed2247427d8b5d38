import pytest

from twotsrec import models
from twotsrec import recipes
from twotsrec import types
from twotsrec.data import datasets
from twotsrec.data import stream_jobs
from twotsrec.models import two_rnn
from twotsrec.presets import two_time as presets


@pytest.mark.parametrize('dataset', presets.DATASETS)
def test_every_variant_can_be_made_on_every_dataset(dataset):
  for split in presets.SPLITS:
    for variant in presets.VARIANTS:
      config = presets.preset(dataset, split, variant)
      recipes.check(config)
      assert (config.data.dataset, config.data.split) == (dataset, split)
      two_rnn.make_stages(config.two_time, config.model.width)
      options = config.two_time
      assert options.window == options.threshold // 2
      assert options.update_bias == 0 and options.epochs == 40
      assert config.model.width == 64


@pytest.mark.parametrize('dataset', presets.DATASETS)
@pytest.mark.parametrize('name', presets.BASELINES)
def test_every_baseline_is_a_model_under_the_same_protocol(dataset, name):
  for split in presets.SPLITS:
    config = presets.preset(dataset, split, name)
    recipes.check(config)
    if name in presets.SEQUENCES:
      models.make(config.model)
    assert (config.data.dataset, config.data.split) == (dataset, split)
    # Items of JODIE move, so no other protocol would do.
    assert config.evaluation.online != (config.model.name == 'jodie')
    assert config.model.width == 64
    usual = presets.preset(dataset, split).two_time
    assert (config.train.epochs, config.train.patience) == (
      usual.epochs,
      usual.patience,
    )
    lists = config.two_time.evaluation_lists
    assert lists == usual.evaluation_lists


def test_variants_are_the_networks_and_the_wordings_of_the_paper():
  assert set(stream_jobs.PARTS) < set(presets.VARIANTS)
  assert set(presets.DATASETS) - {'synthetic'} <= set(datasets.DATASETS)
  paper = presets.preset('ml-1m', variant='2ts_paper').two_time
  assert (paper.variant, paper.holdout, paper.warmup) == ('2ts', 'none', 'none')
  assert not stream_jobs.leaves_windows(paper)
  ours = presets.preset('ml-1m').two_time
  assert (ours.variant, ours.holdout, ours.warmup) == (
    '2ts',
    'last_k',
    'replay',
  )
  assert stream_jobs.leaves_windows(ours)
  shared = presets.preset('ml-1m', variant='2ts_shared_w').two_time
  assert shared.variant == '2ts_plus' and shared.share_readout


def test_a_graph_learns_the_target_of_a_log_with_behaviors():
  assert set(presets.BASELINES) == {*presets.SEQUENCES, *presets.GRAPHS}
  weights = lambda dataset: (
    presets.preset(dataset, variant='gcmc').behavior.weights
  )
  for name in set(presets.DATASETS) - {'synthetic'}:
    number = len(datasets.DATASETS[name].behaviors) or 1
    assert weights(name) == (0.0,) * (number - 1) + (1.0,)


def test_a_preset_is_made_anew():
  presets.preset('ml-100k').two_time.threshold = 1
  assert presets.preset('ml-100k').two_time.threshold == 100
  assert presets.preset('amazon-beauty-5core').two_time.threshold == 10


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (('taobao',), "dataset 'taobao' is unknown; known: ml-1m"),
    (('ml-1m', 'date'), "split 'date' is unknown; known: global_time"),
    (('ml-1m', 'global_time', 'gru'), "variant 'gru' is unknown; known: 2ts"),
  ],
)
def test_unknown_names_list_the_known_ones(arguments, message):
  with pytest.raises(types.UserError) as error:
    presets.preset(*arguments)
  assert message in str(error.value)
