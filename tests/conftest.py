"""Shared fixtures."""

import pathlib

import pytest


@pytest.fixture(scope='session')
def shared_data() -> pathlib.Path:
  """Folder of the public datasets that stand beside a checkout."""
  folder = pathlib.Path(__file__).resolve().parents[2] / 'shared' / 'data'
  if not folder.is_dir():
    pytest.skip('no ../shared/data beside this checkout')
  return folder
