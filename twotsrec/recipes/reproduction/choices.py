"""What a command line asks for, checked."""

from collections.abc import Iterable, Mapping, Sequence

from twotsrec import types


def known(
  given: Mapping[str, tuple[Sequence[str], Iterable[str]]],
) -> dict[str, tuple[str, ...]]:
  """The names of every flag without repetitions.

  Args:
    given: {flag: (names, those that are known)}.
  Raises:
    types.UserError: an unknown name, or none.
  """
  for flag, (names, allowed) in given.items():
    for name in names:
      if name not in allowed:
        raise types.UserError(
          f'--{flag}: unknown {name!r}; known: {", ".join(allowed)}'
        )
    if not names:
      raise types.UserError(f'--{flag} is empty; known: {", ".join(allowed)}')
  return {flag: _once(names) for flag, (names, _) in given.items()}


def seeds(given: Iterable[int | str]) -> tuple[int, ...]:
  """Seeds without repetitions; they may be text, as a command line has them.

  Raises:
    types.UserError: not a whole number from 0, or none.
  """
  written = [str(seed) for seed in given]
  for seed in written:
    if not seed.isdecimal():
      raise types.UserError(
        f'--seeds: {seed!r} is not a whole number from 0; write 0,1,2'
      )
  if not written:
    raise types.UserError('--seeds is empty; write 0,1,2')
  return _once(map(int, written))


def _once(names):
  return tuple(dict.fromkeys(names))
