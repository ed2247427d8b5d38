"""Fusions by name: what makes representations of nodes from several graphs.

A fusion is a `types.Fusion`. Heads (`behavior_heads`), the ranking form, the
plugins on it, losses and aggregators take whatever it gives.
"""

from twotsrec import config as config_lib
from twotsrec import fields
from twotsrec import own
from twotsrec import types
from twotsrec.models import bcipm
from twotsrec.models import cigf
from twotsrec.models import cml
from twotsrec.models import cogcn
from twotsrec.models import crgcn
from twotsrec.models import gcmc
from twotsrec.models import gnmr
from twotsrec.models import kmclr_no_kg
from twotsrec.models import mb_cgcn
from twotsrec.models import mbgcn
from twotsrec.models import mule
from twotsrec.models import pkef
from twotsrec.models import rgcn
from twotsrec.models import s_mbrec

_MAKERS = {
  'cogcn': cogcn.make,
  'rgcn': rgcn.make,
  'mb_cgcn': mb_cgcn.make,
  'crgcn': crgcn.make,
  'cigf': cigf.make,
  'pkef': pkef.make,
  'mbgcn': mbgcn.make,
  'bcipm': bcipm.make,
  'mule': mule.make,
  'gnmr': gnmr.make,
  's_mbrec': s_mbrec.make,
  'cml': cml.make,
  'kmclr_no_kg': kmclr_no_kg.make,
  'gcmc': gcmc.make,
  'gcmc_sage': gcmc.make_sage,
  'gcmc_gat': gcmc.make_gat,
}
NAMES = tuple(_MAKERS)


def make(config: config_lib.Config, sizes: types.NodeSizes) -> types.Fusion:
  """The fusion that a configuration names.

  Raises:
    types.UserError: an unknown name, a value that a setting cannot have, a
      changed setting that this fusion does not read, or fewer behaviors than
      it fuses.
  """
  options = config.fusion
  fields.refuse_section(options, 'fusion')
  made: types.Fusion = own.part(
    options.name, 'fusion.name', types.Fusion, _MAKERS, config, sizes
  )
  # A head walks graphs of its own, with products of this type.
  fields.refuse_options(options, 'fusion', made.reads, ('product_dtype',))
  if sizes.num_behaviors < made.least_behaviors:
    raise types.UserError(
      f'fusion.name={options.name} fuses {made.least_behaviors} behaviors or'
      f' more, but the data have {sizes.num_behaviors}; give a behavior column'
      ' with as many, the target last, or use fusion.name=cogcn'
    )
  return made
