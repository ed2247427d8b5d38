r"""COPF on a log of one's own with behaviors, whatever they are called.

    python launch/prepare.py --table=events.csv --user_column=user \
      --item_column=item --behavior_column=what --behaviors=view,cart,buy \
      --out=data/mine
    python launch/train.py --config=configs/copf/own.py:copf,3 \
      --config.data.prepared=data/mine --workdir=runs/mine

The argument is a variant of configs/copf/taobao.py and the number of behaviors,
3 if it is left out: losses of behaviors weigh the same, and a variant whose
depths or scales differ by behavior has as many as there are. Without
data.prepared it trains on the built-in log with behaviors.
"""

from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.presets import copf


def get_config(asked: str = 'copf,3') -> config_lib.Config:
  """The settings of VARIANT,NUMBER."""
  variant, _, number = asked.partition(',')
  if not (number or '3').isdecimal() or int(number or 3) < 2:
    raise types.UserError(
      f'{asked!r}: {number!r} is no number of behaviors from 2; write'
      f' {variant},3'
    )
  return copf.preset('synthetic-behaviors', variant, int(number or 3))
