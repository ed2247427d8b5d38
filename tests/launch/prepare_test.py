import os
import pickle
import subprocess
import sys

import numpy as np
import polars
import pytest
from scipy import sparse

from tests.launch import scripts
from twotsrec.data import features
from twotsrec.data import pipeline
from twotsrec.data import prepared


def run(capsys, *flags) -> scripts.Ended:
  return scripts.run(capsys, 'prepare', *flags)


def as_a_user(*flags) -> scripts.Ended:
  """The same in a process of its own, which takes seconds to start."""
  done = subprocess.run(
    [sys.executable, str(scripts.LAUNCH / 'prepare.py'), *flags],
    capture_output=True,
    text=True,
    check=False,
    env={**os.environ, 'PYTHONPATH': str(scripts.ROOT), 'JAX_PLATFORMS': 'cpu'},
  )
  return scripts.Ended(done.returncode, done.stdout, done.stderr)


def test_a_table_is_prepared_and_reported(tmp_path):
  table = tmp_path / 'log.csv'
  table.write_text(
    'who;what\n'
    + ''.join(f'{user};{item}\n' for user in 'abcde' for item in range(4))
  )
  out = tmp_path / 'out'
  done = as_a_user(
    f'--table={table}',
    '--user_column=who',
    '--item_column=what',
    '--delimiter=;',
    '--num_groups=2',
    f'--out={out}',
  )
  assert (done.code, done.err) == (0, '')
  assert 'users            5' in done.out
  assert f'prepared data in {out}' in done.out
  train, which = done.out.splitlines()[-2:]
  assert f'configs/own.py --config.data.prepared={out} ' in train
  assert which.endswith(f'launch/advise.py --data={out} --num_groups=2')
  assert prepared.load(str(out), verify=True).num_events == 20


def test_users_are_cut_at_their_own_times_and_features_saved(tmp_path, capsys):
  table, items = tmp_path / 'log.csv', tmp_path / 'items.csv'
  rows = [f'{user},{n},{n}\n' for user in range(4) for n in range(10)]
  table.write_text('user_id,item_id,t\n' + ''.join(rows))
  items.write_text(
    'movie,genres\n' + ''.join(f'{n},a;b{n}\n' for n in range(10))
  )
  flags = [
    f'--table={table}',
    '--time_column=t',
    '--rows_in_order',
    '--split=per_user_time',
    f'--features={items}',
    '--feature_columns=genres:multivalued',
    '--feature_item_column=movie',
    '--feature_separator=;',
  ]
  done = run(capsys, *flags, f'--out={tmp_path / "out"}')
  assert (done.code, done.err) == (0, '')
  assert '(0.00% by 0 of 4 users without train events' in done.out
  assert 'item features: genres:multivalued' in done.out
  data = prepared.load(str(tmp_path / 'out'))
  assert data.manifest['counts']['test'] == 8
  assert features.load(data).multivalued['genres'].shape == (11, 2)
  items.write_text('movie,genres\n0,a\n')
  done = run(capsys, *flags, f'--out={tmp_path / "other"}')
  scripts.assert_refused(done, '9 items (1, 2, 3, ...) of the data have no row')


def test_a_log_of_a_number_of_events_is_written_as_it_is_drawn(
  tmp_path, capsys
):
  out = tmp_path / 'out'
  done = run(
    capsys,
    '--dataset=synthetic-stream',
    '--events=5000',
    '--split=global_time',
    f'--out={out}',
  )
  assert (done.code, done.err) == (0, '')
  assert prepared.load(str(out), verify=True).num_events == 5000


def test_a_release_is_prepared_with_the_seed_of_its_validation(
  tmp_path, capsys
):
  folder, out = tmp_path / 'release', tmp_path / 'out'
  folder.mkdir()
  bought = np.triu(np.ones((20, 20)), 1)
  for name in ('pv', 'buy'):
    content = pickle.dumps(sparse.csr_matrix(bought))
    (folder / f'trn_{name}').write_bytes(content)
  (folder / 'tst_int').write_bytes(pickle.dumps([0] * 20))
  done = run(
    capsys,
    f'--release={folder}',
    '--behaviors=pv,buy',
    '--seed=3',
    f'--out={out}',
  )
  assert (done.code, done.err) == (0, '')
  assert 'note: 1 of 20 users have no training row' in done.out
  assert 'source           release' in done.out
  assert 'configs/closed_form.py:pair_experts --config.data.' in done.out
  data = prepared.load(str(out), verify=True)
  assert data.manifest['behaviors'] == ['pv', 'buy']
  assert data.manifest['counts']['validation'] == 17
  wanted = pipeline.Options(
    release=str(folder), behaviors=('pv', 'buy'), seed=3
  )
  digest = data.manifest['digest']
  assert pipeline.prepare(wanted).manifest['digest'] == digest
  other = pipeline.prepare(wanted._replace(seed=4))
  assert other.manifest['digest'] != digest


def test_a_release_that_asks_for_a_function_is_refused_in_one_line(
  tmp_path, capsys
):
  (tmp_path / 'trn_buy').write_bytes(b"cos\nsystem\n(S'ls'\ntR.")
  done = run(
    capsys,
    f'--release={tmp_path}',
    '--behaviors=buy',
    f'--out={tmp_path / "out"}',
  )
  scripts.assert_refused(done, 'asks for os.system')


@pytest.mark.parametrize(
  ('flags', 'message'),
  [
    (['--table=none.csv', '--out=OUT'], 'none.csv'),
    (['--tabel=none.csv', '--out=OUT'], "Unknown command line flag 'tabel'"),
  ],
)
def test_wrong_input_is_one_line_without_a_traceback(
  tmp_path, capsys, flags, message
):
  done = run(
    capsys, *(flag.replace('OUT', str(tmp_path / 'out')) for flag in flags)
  )
  scripts.assert_refused(done, message, lines=2)
  assert 'Traceback' not in done.err
  assert not list(tmp_path.iterdir())


LOG = 'user_id,item_id,t,stars\n' + ''.join(
  f'{user},{item},{item},{1 + (user + item) % 5}\n'
  for user in range(4)
  for item in range(6)
)


@pytest.mark.parametrize(
  ('flags', 'unread'),
  [
    (['--users=3', '--events=5'], '--users'),
    (['--events=5'], '--events'),
    (['--data_root=x'], '--data_root'),
    (['--time_unit=ms'], '--time_unit'),
    (['--decimal=,'], '--decimal'),
    (['--dislikes=drop'], '--dislikes'),
    (['--rating_column=stars'], '--rating_column'),
    (['--id_type=int', '--keep_ids=NA'], '--keep_ids'),
    (['--core=single_pass'], '--core'),
    (['--extra_features=drop'], '--extra_features'),
    (['--seed=1'], '--seed'),
  ],
)
def test_a_flag_that_nothing_reads_is_refused(tmp_path, capsys, flags, unread):
  table, out = tmp_path / 'log.csv', tmp_path / 'out'
  table.write_text(LOG)
  done = run(capsys, f'--table={table}', f'--out={out}', *flags)
  scripts.assert_refused(done, f'{unread}: nothing reads it')
  assert not out.exists()


def test_flags_of_tables_are_refused_with_another_source(tmp_path, capsys):
  out = f'--out={tmp_path / "out"}'
  done = run(
    capsys, '--dataset=synthetic', '--time_column=t', '--where=a=b', out
  )
  assert '--time_column, --where: nothing reads them' in done.err
  path = tmp_path / 't.parquet'
  polars.DataFrame({'user_id': [1], 'item_id': [2]}).write_parquet(path)
  done = run(capsys, f'--table={path}', '--column_names=user_id,item_id', out)
  assert '--column_names: nothing reads it' in done.err


def test_what_was_rated_low_is_told_and_stays_seen(tmp_path, capsys):
  table, out = tmp_path / 'log.csv', tmp_path / 'out'
  table.write_text(LOG)
  flags = ['--rating_column=stars', '--min_rating=2', '--time_column=t']
  done = run(capsys, f'--table={table}', *flags, f'--out={out}')
  assert (done.code, done.err) == (0, '')
  low = sum(line.endswith(',1') for line in LOG.splitlines())
  assert f'rated low        {low} pairs' in done.out
  assert '1970-01-01 00:00:00 to 1970-01-01 00:00:05; ' in done.out
  data = prepared.load(str(out), verify=True)
  assert len(data.disliked_items) == low
  assert len(prepared.seen_items(data).items) == data.num_events + low
  done = run(
    capsys, f'--table={table}', *flags, '--dislikes=drop', f'--out={out}2'
  )
  assert 'rated low' not in done.out
  assert prepared.load(f'{out}2').disliked_items is None


def test_a_file_name_that_is_no_text_is_shown_with_escapes(tmp_path, capsys):
  table, out = os.fsencode(tmp_path / 'caf') + b'\xe9.csv', tmp_path / 'out'
  with open(table, 'w') as file:
    file.write(LOG)
  done = run(capsys, f'--table={os.fsdecode(table)}', f'--out={out}')
  assert (done.code, done.err) == (0, '')
  manifest = prepared.load(str(out), verify=True).manifest
  assert manifest['source'] == manifest['options']['table'] == 'caf\\xe9.csv'
  assert 'source           caf\\xe9.csv' in done.out


def test_purchases_alone_and_their_repeats_are_counted(tmp_path, capsys):
  table, out = tmp_path / 'log.csv', tmp_path / 'out'
  rows = [f'{u},{i},{e}\n' for u in range(3) for i in range(5) for e in 'vpp']
  table.write_text('user_id,item_id,event\n' + ''.join(rows))
  flags = ['--where=event=p', '--num_groups=1', f'--out={out}']
  done = run(capsys, f'--table={table}', *flags)
  assert (done.code, done.err) == (0, '')
  assert '15  event is not p (--where), lines 2, 5' in done.out
  assert 'duplicates       15 repeated pairs, all kept' in done.out
  assert prepared.load(str(out)).num_events == 30
