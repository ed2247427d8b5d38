"""The document on PIN: our numbers beside the paper's, in Markdown."""

from collections.abc import Iterator, Mapping
import pathlib
from typing import Any

from twotsrec.evaluation import comparison
from twotsrec.recipes.reproduction import document
from twotsrec.recipes.reproduction import pin
from twotsrec.recipes.reproduction import pin_figure
from twotsrec.recipes.reproduction import pin_numbers
from twotsrec.recipes.reproduction import pin_tables

_METRICS = {'auc': 'AUC', 'user_auc': 'user AUC'}

_READING = (
  'Cells are means over seeds with 95 % intervals over users; verdicts are'
  ' those of paired 95 % intervals of the differences: "holds" if every'
  ' interval is above 0, "does not hold" if one is below, "not decided" where'
  ' they include 0. Intervals say what other such users would show of these'
  ' trained models, not what another training would; for that see in how many'
  ' seeds a claim is true.'
)
_BUDGET = (
  'Every system is trained for {epochs} epochs at most, +GA+PN for'
  ' {stage2_epochs} more (stage 2); "trained as long" is the control for those.'
  " The epoch is selected on validation, each user's second-to-last item. The"
  ' paper stops when the loss on validation converges; it names neither the'
  ' epochs nor the validation set.'
)


def write(result: Mapping[str, Any], out: str) -> pathlib.Path:
  """Writes OUT/pin.md, OUT/pin.json and, with matplotlib, OUT/pin_fig4.png.

  Args:
    result: of `pin_results.collect`.
    out: folder.
  Returns:
    The Markdown file.
  """
  folder = pathlib.Path(out)
  figure = pin_figure.draw(result, folder / 'pin_fig4.png')
  text = markdown(result, figure.name if figure else '')
  return document.write(result, text, folder, 'pin')


def markdown(result: Mapping[str, Any], figure: str = '') -> str:
  """The whole document.

  Args:
    result: of `pin_results.collect`.
    figure: file name of Fig. 4's picture, beside the document.
  """
  head = [
    '# PIN, reproduced',
    f'```\n{result["command"]}\n```',
    _BUDGET.format(**result['settings']),
    _READING,
  ]
  settings = result['settings']
  return document.join(
    head, result, lambda name, found: _dataset(name, found, settings, figure)
  )


def _dataset(name, found, settings, figure) -> Iterator[str]:
  paper, tables = name == pin_numbers.DATASET, settings['tables']
  yield _about(found)
  yield '### What holds'
  yield _claims(found)
  if not paper:
    yield (
      'The paper has no numbers on this dataset (its Amazon is Amazon Books),'
      ' so none stand beside ours.'
    )
  if '2' in tables:
    yield '### Table 2: AUC by group, DIN'
    yield pin_tables.by_group(found, {'din': pin_tables.METHODS}, paper)
    yield pin_tables.lowest(found, paper)
  if '3' in tables:
    yield '### Table 3: mean AUC of the users, DIN'
    yield pin_tables.by_user(found, paper)
  if '4' in tables:
    yield '### Table 4: ablation, AUC by group'
    models = dict.fromkeys(settings['models'], pin_tables.PARTS)
    yield pin_tables.by_group(found, models, paper)
  if 'fig4' in tables:
    yield '### Fig. 4: Hit@1 on validation during stage 2, DIN'
    yield from pin_tables.curves(found)
    if figure:
      yield f'![Hit@1 by epoch and group]({figure})'
  if 'tau' in tables:
    yield '### The prior of eq. 7, proportional to n_j^tau, DIN'
    yield pin_tables.by_tau(found)
    yield 'tau = 1 is the base model itself, so it is not trained again.'
  for model, of_model in found['models'].items():
    if of_model['comparisons']:
      yield f'### Paired differences, {pin.MODELS[model]}'
      yield from pin_tables.differences(model, of_model['comparisons'])
  yield '### Runs'
  yield from _runs(found)


def _about(found) -> str:
  protocol = found['protocol']
  number = protocol['num_candidates']
  candidates = f'{number} sampled' if number else protocol['candidates']
  return document.about(found, f'{protocol["split"]}, {candidates} candidates')


def _claims(found) -> str:
  heads = pin_tables.groups(found)
  head = ['model', 'claim', 'verdict', 'true in seeds', *heads, 'all']
  places = [*(group['group'] for group in found['groups']), 'all']
  rows = []
  for model, of_model in found['models'].items():
    for claim in of_model['claims']:
      cells = {r['group']: document.difference(r) for r in claim['rows']}
      seeds = f'{claim["seeds_with_it"]} of {claim["seeds"]}'
      rows.append(
        [
          pin.MODELS[model],
          f'{claim["text"]}, {_METRICS[claim["metric"]]}',
          claim['verdict'] or '-',
          seeds if claim['seeds'] else '-',
          *(cells.get(place, '') for place in places),
        ]
      )
  return comparison.piped([head, *rows])


def _runs(found) -> Iterator[str]:
  head = ['model', 'system', 'seed', *document.RUN_HEAD]
  models, systems = [*pin.MODELS], [*pin.SYSTEMS]
  place = lambda r: (models.index(r['model']), systems.index(r['system']))
  shown = [
    [
      pin.MODELS[row['model']],
      row['system'],
      str(row['seed']),
      *document.run_cells(row),
    ]
    for row in sorted(found['runs'], key=place)
  ]
  yield comparison.piped([head, *shown])
  yield document.commands(
    line
    for of_model in found['models'].values()
    for line in of_model['commands'].values()
  )
