"""PIN's Tables 1 to 4, its Fig. 4 and the ablation of tau.

    python launch/reproduce/pin.py --data_root=DIR --out=runs/pin
    python launch/reproduce/pin.py --prepared=data/mine --out=runs/mine

Alipay's log is private. `--datasets=synthetic-impressions` has its form: what
users were shown, with labels, held out by time (data/synthetic_impressions.py).

Two systems of the tables are one: joint training is eq. 7 with tau = 1, whose
prior is n_j / N, but for the rounding of the groups' places in a batch. So
`base` stands for both.
"""

from twotsrec import config as config_lib
from twotsrec.studies import claims
from twotsrec.studies import document
from twotsrec.studies import figures
from twotsrec.studies import plans
from twotsrec.studies import sections
from twotsrec.studies import statistics
from twotsrec.studies import study
from twotsrec.studies import tables

# Stage 2 starts from the run of `ga`, which is trained before.
SYSTEMS = {
  'base': {},
  'ga': {'aggregator.name': 'backdoor'},
  'ga_pn': {'aggregator.name': 'backdoor', 'plugin.name': 'light'},
  'pcgrad': {'aggregator.name': 'pcgrad'},
  'agr_rand': {'aggregator.name': 'agr_rand'},
  # Its tasks are users drawn with equal chances (Yin et al. 2020, the
  # "resample"). Groups hold equally many users, so each fills an equal part of
  # a batch; proportional batches would draw clicks, not users.
  'grad_transfer': {
    'train.method': 'grad_transfer',
    'train.batching': 'balanced',
  },
  'base_long': {},
  'ga_long': {'aggregator.name': 'backdoor'},
  'ga_tau_minus1': {'aggregator.name': 'backdoor', 'aggregator.tau': -1.0},
  # A model per group on its users alone (PIN sec. 1, its motivation).
  'separate': {'train.method': 'separate'},
  # As many samples of each group in a batch, joint training: over-sampling.
  'balanced': {'train.batching': 'balanced'},
}
# Trained for the epochs of both stages: controls of +GA+PN.
LONG = ('base_long', 'ga_long')

# The configs of a dataset are configs/pin/FILE_MODEL.py.
FILES = {
  'ml-1m': 'ml1m',
  'ml-100k': 'ml100k',
  'amazon-beauty-5core': 'beauty',
  'synthetic-impressions': 'impressions',
}
# PIN sec. 4.1.1: Amazon is evaluated against 99 negatives.
PROTOCOL = {
  'amazon-beauty-5core': {
    'evaluation.candidates': 'sampled',
    'evaluation.num_candidates': 99,
  },
}
MODELS = {'din': 'DIN', 'gru4rec': 'GRU4Rec', 'sasrec': 'SASRec'}
LABELS = {
  **MODELS,
  'base': '{}',
  'ga': '{} +GA',
  'ga_pn': '{} +GA+PN',
  'pcgrad': 'PCGrad',
  'agr_rand': 'Agr-Rand',
  'grad_transfer': 'Grad-Transfer',
  'base_long': '{}, trained as long',
  'ga_long': '{} +GA, trained as long',
  'ga_tau_minus1': '{} +GA, tau = -1',
  'separate': '{}, a model per group',
  'balanced': '{}, balanced batches',
}

# ---- The paper's numbers on MovieLens-1M. Its other datasets, Amazon Books (an
# own cut) and Alipay (private), are not at hand; Fig. 4 comes without numbers.

# Table 1, of whole logs.
STATISTICS = {
  'ml-1m': (6_040, 3_706, 1_000_209, 165.57, 269.89, 0.04468),
}
ELSEWHERE = {
  'Amazon Books': (69_168, 81_473, 3_137_442, 45.36, 38.51, 0.00056),
  'Alipay': (262_446, 4_545, 27_849_672, 106.12, 6_127.54, 0.02334),
}

# {model: {system: AUC of groups 1 to 5}}. Table 4; for DIN Table 2 as well,
# whose "Ours" is +GA+PN.
BY_GROUP = {
  'din': {
    'base': (0.8262, 0.9026, 0.9072, 0.9059, 0.9105),
    'agr_rand': (0.8246, 0.8828, 0.8950, 0.8899, 0.8813),
    'grad_transfer': (0.8443, 0.9040, 0.9133, 0.9110, 0.9094),
    'pcgrad': (0.8375, 0.8964, 0.9097, 0.9033, 0.9021),
    'ga': (0.8384, 0.8977, 0.9023, 0.9017, 0.8973),
    'ga_pn': (0.8434, 0.9131, 0.9247, 0.9227, 0.9251),
  },
  'gru4rec': {
    'base': (0.8587, 0.9264, 0.9354, 0.9379, 0.9400),
    'ga': (0.8595, 0.9210, 0.9338, 0.9393, 0.9371),
    'ga_pn': (0.8633, 0.9250, 0.9385, 0.9424, 0.9425),
  },
  'sasrec': {
    'base': (0.8539, 0.9242, 0.9337, 0.9360, 0.9387),
    'ga': (0.8591, 0.9221, 0.9345, 0.9358, 0.9355),
    'ga_pn': (0.8638, 0.9258, 0.9393, 0.9399, 0.9408),
  },
}
# {system: mean of the users' AUC}, DIN. Table 3.
BY_USER = {
  'base': (0.8909,),
  'agr_rand': (0.8728,),
  'grad_transfer': (0.8958,),
  'pcgrad': (0.8886,),
  'ga_pn': (0.9052,),
}

# ---- Tables

METHODS = ('base', 'agr_rand', 'grad_transfer', 'pcgrad', 'ga_pn')  # Table 2
CONTROLS = ('separate', 'balanced')  # of ours, below them
COMPARED = (
  'base', 'agr_rand', 'grad_transfer', 'pcgrad', 'ga', 'ga_pn', *CONTROLS
)  # fmt: skip
PARTS = ('base', 'ga', 'ga_pn', *LONG)  # Table 4, and the controls
TAUS = {'base': '1, joint', 'ga': '0, +GA', 'ga_tau_minus1': '-1'}

_named = lambda rows: {
  dataset: statistics.Totals(*cells)._asdict()
  for dataset, cells in rows.items()
}

TABLES = {
  '1': study.Table(
    rows=(),
    title='Table 1: the datasets',
    parts=(
      statistics.table(
        '1',
        printed=_named(STATISTICS),
        lacks={},
        fields=statistics.Totals._fields,
        note=(
          'Interactions are all rows of the whole log; with labels, all that'
          ' users were shown'
        ),
        elsewhere=_named(ELSEWHERE),
      ),
    ),
    first=True,
    data=statistics.totals,
  ),
  '2': study.Table(
    rows=(*COMPARED, *LONG),
    title='Table 2: AUC by group, DIN',
    parts=(
      tables.below_paper('2', (*METHODS, *CONTROLS), 'auc', block='din'),
      tables.lowest('2', 'base', 'auc', block='din'),
    ),
  ),
  '3': study.Table(
    rows=(*COMPARED, *LONG),
    title='Table 3: mean AUC of the users, DIN',
    parts=(
      tables.table(
        '3',
        columns=(tables.mean('ours', 'user_auc'), tables.seeds),
        rows=(*METHODS, *CONTROLS),
        paper={'user_auc': 'paper'},
        block='din',
      ),
    ),
  ),
  '4': study.Table(
    rows=PARTS,
    title='Table 4: ablation, AUC by group',
    parts=(tables.below_paper('4', PARTS, 'auc', axis='models'),),
  ),
  'fig4': study.Table(
    rows=('ga', 'ga_pn'),
    title='Fig. 4: Hit@1 on validation during stage 2, DIN',
    parts=(tables.curves('epoch', block='din'),),
    picture=figures.curves(
      block='din',
      xlabel='epoch of stage 2 (0: the trunk)',
      ylabel='Hit@1 on validation',
      title='DIN +GA+PN',
    ),
    caption='Hit@1 by epoch and group',
  ),
  'tau': study.Table(
    rows=tuple(TAUS),
    title='The prior of eq. 7, proportional to n_j^tau, DIN',
    parts=(
      tables.table(
        'tau',
        columns=(
          tables.seeds,
          tables.by_group('auc'),
          tables.mean('user AUC, all', 'user_auc'),
        ),
        first='tau',
        labels=TAUS,
        block='din',
        with_rules=False,
      ),
      document.paragraph(
        {},
        otherwise=(
          'tau = 1 is the base model itself, so it is not trained again.'
        ),
      ),
    ),
  ),
}

CLAIMS = (
  claims.exceeds(
    '+GA+PN above base in every group, AUC', 'ga_pn', 'base', 'auc', 'groups'
  ),
  claims.exceeds(
    'gain in the tail (group 1), AUC', 'ga_pn', 'base', 'auc', 'first'
  ),
  claims.exceeds(
    'head (last group) not hurt, AUC', 'ga_pn', 'base', 'auc', 'last'
  ),
  claims.exceeds(
    '+GA+PN above base by user, user AUC', 'ga_pn', 'base', 'user_auc', 'all'
  ),
  claims.exceeds(
    '+GA alone gains in the tail, AUC', 'ga', 'base', 'auc', 'first'
  ),
  claims.exceeds(
    "plugins and stage 2's epochs add to +GA in every group, AUC",
    'ga_pn', 'ga', 'auc', 'groups',
  ),
  claims.exceeds(
    'plugins add to a +GA trained as long, in every group, AUC',
    'ga_pn', 'ga_long', 'auc', 'groups',
  ),
  claims.exceeds(
    '+GA+PN above a base trained as long, in every group, AUC',
    'ga_pn', 'base_long', 'auc', 'groups',
  ),
  claims.exceeds(
    '+GA+PN above a base trained as long, by user, user AUC',
    'ga_pn', 'base_long', 'user_auc', 'all',
  ),
)  # fmt: skip

# ---- Runs


def preset(place, system):
  """The model on the dataset, as its file has it."""
  del system
  made = config_lib.Config()
  made.data.dataset, made.model.name = place[0], place[1]
  return made


def on_directory(own, place, system):
  """The model on data of one's own, as configs/pin/own.py has it."""
  del own, system
  made = config_lib.Config()
  made.model.name = place[1]
  return made


def changes(request, run):
  """The protocol of the dataset, epochs, seed, and the system."""
  epochs, more = request.numbers['epochs'], request.numbers['stage2_epochs']
  return {
    **PROTOCOL.get(run.place[0], {}),
    'train.epochs': epochs + more * (run.system in LONG),
    'train.seed': run.seed,
    **SYSTEMS[run.system],
    **({'plugin.epochs': more} if run.system == 'ga_pn' else {}),
  }


def needed(request, place):
  """Table 4 is of the models asked for, everything else of DIN."""
  model = place[1]
  return {
    row
    for table in request.tables
    if (model in request.axes['models'] if table == '4' else model == 'din')
    for row in TABLES[table].rows
  }


_HEAD = (
  'Every system is trained for {epochs} epochs at most, +GA+PN for'
  ' {stage2_epochs} more (stage 2); "trained as long" is the control for'
  ' those. The epoch is selected on validation: of the public datasets each'
  " user's second-to-last item, of a log that is held out by time what lies"
  ' before the test. The paper stops when the loss on validation converges; it'
  ' names neither the epochs nor the validation set. "A model per group" and'
  ' "balanced batches" are rows of ours.',
  'Cells are means over seeds with 95 % intervals over users; verdicts are'
  ' those of paired 95 % intervals of the differences: "holds" if every'
  ' interval is above 0, "does not hold" if one is below, "not decided" where'
  ' they include 0. Intervals say what other such users would show of these'
  ' trained models, not what another training would; for that see in how'
  ' many seeds a claim is true.',
)

STUDY = study.Study(
  name='pin',
  axes={
    'datasets': study.Choice(tuple(FILES), default=('ml-1m',)),
    'models': study.Choice(
      tuple(MODELS),
      also=('din',),
      help='Of Table 4; everything else is DIN.',
    ),
  },
  systems=tuple(SYSTEMS),
  tables=TABLES,
  preset=preset,
  file=lambda place, system: (
    f'pin/{FILES.get(place[0], place[0])}_{place[1]}.py'
  ),
  directories=study.OnDirectories(
    preset=on_directory,
    file=lambda own, place, system: f'pin/own.py:{place[1]}',
    most_behaviors=1,
  ),
  changes=changes,
  follows=plans.after({'ga_pn': ('plugin.trunk', 'ga')}),
  needed=needed,
  claims=CLAIMS,
  printed={
    '2': {'ml-1m': BY_GROUP},
    '3': {'ml-1m': {'din': BY_USER}},
    '4': {'ml-1m': BY_GROUP},
  },
  measures=study.Offline(
    metrics=('auc', 'user_auc'),
    pairs={
      'base': tuple(system for system in SYSTEMS if system != 'base'),
      'ga': ('ga_pn', 'ga_tau_minus1'),
      'base_long': ('ga_pn',),
      'ga_long': ('ga_pn',),
    },
    curve=('hr@1', 'ga', 'ga_pn'),
  ),
  title='PIN, reproduced',
  head=(document.with_chapters(*_HEAD), document.first),
  sections=(
    sections.about(),
    sections.claims('model'),
    document.paragraph(
      {
        'ml-1m': '',
        'synthetic-impressions': (
          "This log has the form of the paper's Alipay, which is private, and"
          " nothing else of it: none of the paper's numbers belong beside ours."
        ),
      },
      otherwise=(
        'The paper has no numbers on this dataset (its Amazon is Amazon'
        ' Books), so none stand beside ours.'
      ),
    ),
    document.tables,
    sections.paired,
    sections.runs('model'),
  ),
  labels=LABELS,
  inside=('models',),
  numbers={
    'epochs': study.Number(8, 'Of stage 1 and of systems with one stage.'),
    'stage2_epochs': study.Number(4, 'Of stage 2, with the plugins.'),
  },
  seeds=(0, 1, 2),
)
