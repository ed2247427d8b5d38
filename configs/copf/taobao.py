r"""COPF on taobao-copf: COGCN fusion and the DFME head.

    python launch/train.py --config=configs/copf/taobao.py \
      --data_root=DIR --workdir=runs/copf_taobao

A variant is named after a colon, `--config=configs/copf/taobao.py:wo_back`:
  Table 2  copf, copf_released, copf_prior, mf_bpr, lightgcn, lightgcn_multi,
           neumf, nmtr, rgcn, mb_cgcn, crgcn, cigf, pkef, gnmr, mbgcn, s_mbrec,
           bcipm, cml, kmclr_no_kg, mule
  Table 3  wo_cogcn, copf_p, copf_a, copf_d, copf_f, copf_c, copf_b, copf_h,
           wo_dfme, wo_con, wo_for, wo_back, all_sg, wo_fit
  Table 4  no_aggregation, summation, linear, attention, projection
  Table 5  shared_bottom, mmoe, ple, bilinear, mesi, pme
  Table 6  lightgcn_m, lightgcn_m_dfme, mb_cgcn_dfme, crgcn_dfme, cigf_dfme,
           pkef_dfme
"""

from twotsrec import config as config_lib
from twotsrec.presets import copf


def get_config(variant: str = 'copf') -> config_lib.Config:
  """The settings of a variant, by default the recommended ones."""
  return copf.preset('taobao-copf', variant)
