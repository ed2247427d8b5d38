"""The configuration file that fits prepared data."""

from twotsrec.data import impressions
from twotsrec.data import prepared as prepared_lib


def file_for(data: prepared_lib.Prepared) -> str:
  """The file below configs/, with its argument, of a model to begin with.

  With several behaviors that is the pair of experts, in a minute; COPF takes
  far longer, and is below it on taobao-copf and on a made-up shop.
  """
  if impressions.there_are(data):
    return 'pin/own.py'
  several = len(data.manifest['behaviors']) > 1
  return 'closed_form.py:pair_experts' if several else 'own.py'
