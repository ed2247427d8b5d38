"""Everything the document on PIN shows, as JSON."""

from collections.abc import Mapping
from typing import Any

from twotsrec.recipes.reproduction import pin
from twotsrec.recipes.reproduction import results
from twotsrec.runs import compare

CURVE = 'hr@1'  # Fig. 4
_RESAMPLES = 1000  # of a single mean, as in a report

# Fields of a report that are shown.
_PROTOCOL = ('split', 'candidates', 'ks')

# What is compared with what, where both are among the systems of a model.
_PAIRS = {
  'base': tuple(system for system in pin.SYSTEMS if system != 'base'),
  'ga': ('ga_pn', 'ga_tau_minus1'),
  'base_long': ('ga_pn',),
  'ga_long': ('ga_pn',),
}

CLAIMS = tuple(
  results.Claim(*fields)
  for fields in (
    ('+GA+PN above base in every group', 'ga_pn', 'base', 'auc', 'groups'),
    ('gain in the tail (group 1)', 'ga_pn', 'base', 'auc', 'first'),
    ('head (last group) not hurt', 'ga_pn', 'base', 'auc', 'last'),
    ('+GA+PN above base by user', 'ga_pn', 'base', 'user_auc', 'all'),
    ('+GA alone gains in the tail', 'ga', 'base', 'auc', 'first'),
    (
      "plugins and stage 2's epochs add to +GA in every group",
      'ga_pn', 'ga', 'auc', 'groups',
    ),
    (
      'plugins add to a +GA trained as long, in every group',
      'ga_pn', 'ga_long', 'auc', 'groups',
    ),
    (
      '+GA+PN above a base trained as long, in every group',
      'ga_pn', 'base_long', 'auc', 'groups',
    ),
    (
      '+GA+PN above a base trained as long, by user',
      'ga_pn', 'base_long', 'user_auc', 'all',
    ),
  )
)  # fmt: skip


def collect(
  settings: pin.Settings, resamples: int = compare.RESAMPLES
) -> dict[str, Any]:
  """Reads the finished runs.

  Args:
    settings: which runs.
    resamples: of users, in comparisons.
  Returns:
    {'command', 'settings', 'missing': number of runs, 'datasets': {name: see
    `_dataset`; null if none of its runs has finished}}.
  Raises:
    types.UserError: nothing has finished, or a run that is damaged or not of
      these settings.
  """
  found = results.finished(pin.plans(settings), settings.out, _more)
  shown = ('tables', 'models', 'seeds', 'epochs', 'stage2_epochs')
  return {
    'command': pin.command(settings),
    'settings': {name: getattr(settings, name) for name in shown},
    'missing': len(pin.runs(settings)) - len(found),
    'datasets': {
      dataset: _dataset(settings, dataset, found, resamples)
      for dataset in settings.datasets
    },
  }


def _dataset(
  settings: pin.Settings,
  dataset: str,
  found: Mapping[pin.Run, dict[str, Any]],
  resamples: int,
) -> dict[str, Any] | None:
  """One dataset.

  Returns:
    {'protocol', 'data', 'groups' and 'popularity': of `results.finished` and
    `_more`, 'models': {model: see `_model`}, 'runs': of `results.runs`}; None
    if no run has.
  """
  wanted = [run for run in pin.runs(settings) if run.dataset == dataset]
  done = {run: found[run] for run in wanted if run in found}
  if not done:
    return None
  first = next(iter(done.values()))
  return {
    **{name: first[name] for name in ('protocol', 'data', 'groups')},
    'popularity': first['popularity'],
    'models': {
      model: _model(settings, dataset, model, done, resamples)
      for model in pin.systems(settings)
    },
    'runs': results.runs(wanted, done),
  }


def _model(settings, dataset, model, done, resamples) -> dict[str, Any]:
  """One model.

  Returns:
    {'systems': {system: {'seeds', 'cells': as `results.cells`}, or null if no
    run has finished}, 'comparisons': of `results.comparisons`, 'claims': of
    `results.judge`, 'curves': see `_curves`, 'commands': {system: the line
    that trains it alone, with the first seed}}.
  """
  workdirs, measured, commands = {}, {}, {}
  for system in pin.systems(settings)[model]:
    runs = [pin.Run(dataset, model, seed, system) for seed in settings.seeds]
    workdirs[system] = {
      run.seed: pin.workdir(settings, run) for run in runs if run in done
    }
    measured[system] = _measured(
      workdirs[system], [done[run] for run in runs if run in done]
    )
    commands[system] = pin.train_command(settings, runs[0])
  compared = [
    result
    for reference, others in _PAIRS.items()
    for result in results.comparisons(workdirs, reference, others, resamples)
  ]
  known = [c for c in CLAIMS if {c.other, c.reference} <= set(workdirs)]
  return {
    'systems': measured,
    'comparisons': compared,
    'claims': [results.judge(claim, compared) for claim in known],
    'curves': _curves(settings, dataset, model, done),
    'commands': commands,
  }


def _measured(workdirs, shown) -> dict[str, Any] | None:
  if not workdirs:
    return None
  num_groups, ks = len(shown[0]['groups']), shown[0]['protocol']['ks']
  cells = results.cells([*workdirs.values()], num_groups, ks, _RESAMPLES)
  return {'seeds': list(workdirs), 'cells': cells}


def _curves(settings, dataset, model, done) -> list[dict[str, Any]]:
  """[{'seed', 'by_epoch': [[of each group]]}] of stage 2, from epoch 0.

  Plugins begin as the bare trunk, so epoch 0 is what stage 1 reports.
  """
  curves = []
  for seed in settings.seeds:
    trunk, plugged = (
      pin.Run(dataset, model, seed, system) for system in ('ga', 'ga_pn')
    )
    if trunk in done and plugged in done:
      logged = results.curve(pin.workdir(settings, plugged), CURVE)
      curves.append({'seed': seed, 'by_epoch': [done[trunk]['start'], *logged]})
  return curves


def _more(report: Any) -> dict[str, Any]:
  """What is read of a report besides.

  Returns:
    {'protocol', 'popularity': as `results.cells`, 'start': Fig. 4's metric on
    validation by group}.
  """
  return {
    'protocol': {
      **{name: report['protocol'][name] for name in _PROTOCOL},
      'num_candidates': report['protocol'].get('num_candidates'),
    },
    'popularity': results.of_part(report['baselines']['popularity']),
    'start': [g[CURVE]['value'] for g in report['validation']['groups']],
  }
