import numpy as np
import pytest

from tests import configured
from tests import jodie_toys as toys
from tests import small_runs as runs
from twotsrec import recipes
from twotsrec import types
from twotsrec.data import prepared as prepared_lib
from twotsrec.evaluation import candidates
from twotsrec.evaluation import online
from twotsrec.recipes import dyn_aernn as recipe
from twotsrec.runs import experiment as experiment_lib
from twotsrec.runs import run as run_lib
from twotsrec.training import files
from twotsrec.training import online_rows
from twotsrec.training import run_directory

LISTS = 3


def _config(**changes):
  usual = {
    'model.name': 'dyn_aernn',
    'model.width': toys.WIDTH,
    'dyn_aernn.hidden': (6, 5),
    'dyn_aernn.snapshots': 4,
    'groups.num_groups': 3,
    'train.epochs': 3,
    'train.batch_size': 16,
    'train.learning_rate': 0.01,
    'train.select_metric': 'mrr',
    'train.checkpoint_every': 0.0,
    'data.split': 'global_time',
    'evaluation.online': True,
    'evaluation.bootstrap': 20,
    'two_time.evaluation_lists': LISTS,
  }
  return configured.by(usual, **changes)


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
  folder = tmp_path_factory.mktemp('dyn_aernn')
  data = prepared_lib.save(toys.log(), str(folder / 'data'))
  run_lib.train(_of(data.path), str(folder / 'run'), quiet=True)
  return folder / 'run', data.path


def _of(path):
  made = _config()
  made.data = type(made.data)(prepared=path)
  return made


def test_it_ranks_the_events_and_lists_of_2ts_and_learns(folders):
  workdir, _ = folders
  report, data = files.read_json(workdir / 'report.json'), toys.log()
  shown = report['online']['model']['test']
  events = online.held_out(data, prepared_lib.TEST)
  among = online.usual_rules(data, LISTS, 0)
  popular = online.popularity(data, prepared_lib.TEST)
  lists = online.rank(popular, data, events, among)['list']
  assert shown['lists_digest'] == candidates.digest_of_fingerprints(lists)
  losses = [x['train_loss'] for x in run_directory.read_metrics(workdir)]
  assert len(losses) == 3 and losses[2] < losses[0]


def test_an_event_is_ranked_by_a_product_of_its_user_and_items(folders):
  workdir, _ = folders
  rows = online_rows.read(workdir).model
  experiment, params = experiment_lib.load(str(workdir))
  ranker = experiment_lib.ranker(experiment, params)
  table = ranker.params.tables['item']['embedding']
  scores = np.asarray(ranker.params.net['query'] @ table.T)
  for row, user in enumerate(rows['user']):
    own = scores[user, toys.log().items[rows['event'][row]]]
    above = np.sum(scores[user, 1:] > own + 1e-6)
    not_below = np.sum(scores[user, 1:] > own - 1e-6) - 1
    better, tied = rows['better'][row], rows['tied'][row]
    assert above <= better <= better + tied <= not_below


def test_a_run_that_stops_goes_on_to_the_same_report(folders, tmp_path):
  workdir, data = folders
  asked = iter([False] * 4 + [True])
  stopped = run_lib.train(_of(data), str(tmp_path), lambda: next(asked), True)
  assert stopped is None
  run_lib.train(_of(data), str(tmp_path), quiet=True)
  assert runs.untimed_report(tmp_path) == runs.untimed_report(workdir)


def _build(data, **changes):
  experiment = experiment_lib.make(_config(**changes), toys.log())
  return recipe.build(experiment._replace(prepared=data))


def test_a_graph_beyond_memory_is_refused_with_its_bytes():
  data = prepared_lib.Prepared(*toys.log())
  many = data._replace(item_ids=np.arange(60_000))
  number = (toys.USERS + 60_000) ** 2
  with pytest.raises(types.UserError, match=f'needs {number:,} bytes'):
    _build(prepared_lib.Prepared(*many))


def test_wrong_input_gets_a_line():
  def refused(words, **changes):
    with pytest.raises(types.UserError, match=words):
      recipes.check(_config(**changes))
      recipe.make_parts(experiment_lib.make(_config(**changes), toys.log()))

  refused('lookback is 4, but of 4 snapshots', dyn_aernn__lookback=4)
  refused('snapshots 1 must be at least 2', dyn_aernn__snapshots=1)
  refused('dyn_aernn.beta 0.5 must be at least 1', dyn_aernn__beta=0.5)
  refused('aggregator.name', aggregator__name='backdoor')
  refused('has no validation loss; use mrr', train__select_metric='loss')
  bare = prepared_lib.Prepared(*toys.log())._replace(times=None)
  with pytest.raises(types.UserError, match='plays events in order of time'):
    _build(bare)
