"""What a request for a paper's tables is refused with, followed."""

import pytest

from tests.advice import following
from tests.advice.following import Case
from tests.advice.following import given
from tests.advice.setting import refusal
from tests.studies import papers
from twotsrec.studies import study as study_lib

STUDY = papers.module('pin').STUDY
CASES = [
  Case(says, asked, [way])
  for says, asked, way in (
    (
      'study.py: --{}: unknown {}; known',
      ['--models=din,best'],
      given('models', says=r'known: (din)'),
    ),
    (
      'study.py: --{} is empty; known',
      ['--models='],
      given('models', says=r'known: (din)'),
    ),
    (
      '--seeds: {} is not a whole number from 0',
      ['--seeds=one'],
      given('seeds', says='write (0,1,2)'),
    ),
    (
      '--seeds is empty; write',
      ['--seeds='],
      given('seeds', says='write (0,1,2)'),
    ),
  )
]


def attempt(asked) -> str:
  flags = [flag.lstrip('-').split('=', 1) for flag in asked]
  values = {name: value.split(',') if value else [] for name, value in flags}
  return refusal(study_lib.ask, STUDY, values, 'out')


@pytest.mark.parametrize('case', CASES, ids=lambda case: case.name)
def test_tables_are_asked_for_as_advised(case, tmp_path):
  following.follow(case, attempt, tmp_path)
