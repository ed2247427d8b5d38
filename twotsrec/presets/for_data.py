"""The configuration file that fits prepared data."""

from twotsrec.data import impressions
from twotsrec.data import prepared as prepared_lib
from twotsrec.presets import copf


def file_for(data: prepared_lib.Prepared) -> str:
  """The file below configs/, with its argument, of a model to begin with."""
  if impressions.there_are(data):
    return 'pin/own.py'
  number = len(data.manifest['behaviors'])
  return copf.file_for(number) if number > 1 else 'own.py'
