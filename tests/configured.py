"""Configurations of tests, by the settings that are not the usual ones."""

from collections.abc import Mapping
from typing import Any

from twotsrec import config as config_lib


def by(
  settings: Mapping[str, Any] | None = None,
  base: config_lib.Config | None = None,
  **changes,
) -> config_lib.Config:
  """The base with {'section.field': value}; `train__epochs=1` is train.epochs.

  Without a base it is the default.
  """
  named = {**(settings or {}), **paths(changes)}
  return config_lib.changed(base or config_lib.Config(), named)


def paths(changes: Mapping[str, Any]) -> dict[str, Any]:
  """Settings by their paths, of keywords."""
  return {name.replace('__', '.'): value for name, value in changes.items()}
