r"""Systems of one behavior, LightGCN above all, on amazon-book-kgat.

    python launch/train.py --config=configs/copf/amazon_book.py \
      --data_root=DIR --workdir=runs/lightgcn_amazon_book

Others are named after a colon, `--config=configs/copf/amazon_book.py:mf_bpr`:
mf_bpr, and gcmc, gcmc_sage and gcmc_gat with 2TS's settings of GCMC;
`--config.data.prepared=DIR` takes a log of one's own. The epoch is selected on
one random pair of a user, which is left out of training. Published figures have
no such pair and take the best epoch on the test items:
`--config.data.validation=false --config.train.select_on=test`.
"""

from twotsrec import config as config_lib
from twotsrec.presets import baselines


def get_config(system: str = 'lightgcn') -> config_lib.Config:
  """The settings of a system."""
  return baselines.preset('amazon-book-kgat', system)
