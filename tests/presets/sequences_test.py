import pytest

from twotsrec import recipes
from twotsrec import types
from twotsrec.data import datasets
from twotsrec.presets import sequences


def test_every_system_goes_with_every_dataset():
  assert set(sequences.DATASETS) <= set(datasets.DATASETS)
  for dataset in sequences.DATASETS:
    for system in sequences.SYSTEMS:
      config = sequences.preset(dataset, system)
      recipes.check(config)
      assert config.data.dataset == dataset


def test_unknown_names_list_those_there_are():
  with pytest.raises(types.UserError, match="'ml-2m'.*ml-1m-sas"):
    sequences.preset('ml-2m')
  with pytest.raises(types.UserError, match="'sasrek'.*gsasrec"):
    sequences.preset('ml-1m-sas', 'sasrek')
